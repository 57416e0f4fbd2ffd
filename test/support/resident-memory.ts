import { readFileSync } from 'node:fs';

function statusBytes(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm');
  const [, kib] = line.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

/** Resident memory of a process, in bytes. @throws Error when the process is gone. */
export function residentMemory(pid: number): number {
  return statusBytes(pid, 'VmRSS');
}

/** The most resident memory that a process has ever had, in bytes. @throws Error when it is gone. */
export function peakMemory(pid: number): number {
  return statusBytes(pid, 'VmHWM');
}
