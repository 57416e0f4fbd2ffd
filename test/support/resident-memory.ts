import { readFileSync } from 'node:fs';

/** Resident memory of a process, in bytes. @throws Error when the process is gone. */
export function residentMemory(pid: number): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}
