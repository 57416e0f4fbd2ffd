// Ends with 0 when the service in this container answers, else with 1. Docker cuts it off when there is no answer.

const { PORT } = process.env;

try {
  const { ok } = await fetch(`http://127.0.0.1:${PORT}/health`);
  process.exitCode = ok ? 0 : 1;
} catch {
  process.exitCode = 1;
}
