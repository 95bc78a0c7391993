import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

/** What strace has to print so that `readTrace` can replay it: the main thread alone, which does all of these calls. */
export const straceOptions = (outPath: string): readonly string[] => [
  'strace', '-D', '-o', outPath, '-xx', '-y', '-s', '4000000', '-e', 'trace=fdatasync,fsync,pwrite64,write,writev,sendmsg,sendto,ftruncate',
];

export type TraceEvent =
  | { readonly kind: 'write'; readonly path: string; readonly offset: number; readonly data: Buffer }
  | { readonly kind: 'truncate'; readonly path: string; readonly size: number }
  | { readonly kind: 'sync'; readonly path: string }
  /** To a socket, pipe or log: whoever reads it knows the data from here on, be it written in part only. */
  | { readonly kind: 'send'; readonly to: string; readonly data: Buffer };

/** The system calls of one thread, in the order in which the kernel saw them. */
export async function* readTrace(path: string): AsyncGenerator<TraceEvent> {
  for await (const line of createInterface({ input: createReadStream(path, 'latin1'), crlfDelay: Infinity })) {
    const event = parseLine(line);
    if (event !== undefined) yield event;
  }
}

const call = /^(\w+)\(\d+<((?:\\x[0-9a-f]{2})*)>/;
const strings = /"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?/g;

function parseLine(line: string): TraceEvent | undefined {
  const head = call.exec(line);
  if (head === null) return undefined;
  const [, name, target] = head as unknown as [string, string, string];
  const path = bytes(target).toString('utf8');
  const returned = /\) += (-?\d+)(?: |$)/.exec(line.slice(-80))?.[1];
  if (name === 'fsync' || name === 'fdatasync') return returned === '0' ? { kind: 'sync', path } : undefined;
  if (name === 'ftruncate') return returned === '0' ? { kind: 'truncate', path, size: Number(/, (\d+)\)/.exec(line.slice(-80))?.[1]) } : undefined;
  const parts: Buffer[] = [];
  for (const [, text, cut] of line.slice(head[0].length).matchAll(strings)) {
    if (cut !== undefined) throw new Error('the trace is cut: raise -s');
    parts.push(bytes(text as string));
  }
  const data = Buffer.concat(parts);
  if (name !== 'pwrite64') return { kind: 'send', to: path, data };
  const [, offset] = /, (\d+)\) += \d+$/.exec(line.slice(-80)) ?? [];
  // a write that the kill cut off is not known to have happened
  return offset === undefined || returned === undefined ? undefined : { kind: 'write', path, offset: Number(offset), data: data.subarray(0, Number(returned)) };
}

const bytes = (text: string): Buffer => Buffer.from(text.replaceAll('\\x', ''), 'hex');

/** One file as it would be found after the power failed: what was written before the last completed sync, and nothing else. */
export class SyncedFile {
  #synced: Buffer = Buffer.alloc(0);
  #size = 0;
  #waiting: ({ readonly offset: number; readonly data: Buffer } | { readonly size: number })[] = [];
  syncs = 0;

  write(offset: number, data: Buffer): void {
    this.#waiting.push({ offset, data });
  }

  truncate(size: number): void {
    this.#waiting.push({ size });
  }

  sync(): void {
    this.syncs += 1;
    for (const step of this.#waiting) {
      if ('size' in step) {
        this.#reserve(step.size);
        if (step.size < this.#size) this.#synced.fill(0, step.size, this.#size);
        this.#size = step.size;
        continue;
      }
      this.#reserve(step.offset + step.data.length);
      step.data.copy(this.#synced, step.offset);
      this.#size = Math.max(this.#size, step.offset + step.data.length);
    }
    this.#waiting = [];
  }

  image(): Buffer {
    return this.#synced.subarray(0, this.#size);
  }

  #reserve(size: number): void {
    if (size <= this.#synced.length) return;
    const larger = Buffer.alloc(Math.max(size, this.#synced.length * 2));
    this.#synced.copy(larger);
    this.#synced = larger;
  }
}
