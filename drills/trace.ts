import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';

/**
 * The options with which strace prints what `readTrace` needs. Other processes of the server are
 * distinguished by how they were made.
 */
export const straceOptions = (outPath: string): readonly string[] => [
  'strace',
  '-D',
  '-f',
  '--seccomp-bpf',
  '-o',
  outPath,
  '-xx',
  '-y',
  '-s',
  '4000000',
  '-e',
  'trace=fdatasync,fsync,pwrite64,write,writev,sendmsg,sendto,ftruncate,clone,clone3',
];

export type TraceEvent =
  | {
      readonly kind: 'write';
      readonly path: string;
      readonly offset: number;
      readonly data: Buffer;
    }
  | { readonly kind: 'truncate'; readonly path: string; readonly size: number }
  /**
   * A sync. Earlier writes are on the disk when it has ended well; both of its events have the same
   * `id`.
   */
  | { readonly kind: 'sync-begins'; readonly path: string; readonly id: number }
  | { readonly kind: 'synced'; readonly path: string; readonly id: number }
  /**
   * A write to a socket, pipe or log. Its reader may know the data from here on, even if only a
   * part is written.
   */
  | { readonly kind: 'send'; readonly to: string; readonly data: Buffer };

/**
 * The system calls of all threads of process `pid`, in the kernel's order. A write to a file counts
 * at its return, a send at its begin.
 */
export async function* readTrace(path: string, pid: number): AsyncGenerator<TraceEvent> {
  const threads = new Set([pid]);
  const unfinished = new Map<number, string>();
  for await (const line of createInterface({
    input: createReadStream(path, 'latin1'),
    crlfDelay: Infinity,
  })) {
    const [, thread, rest] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const id = Number(thread);
    if (rest === undefined || !threads.has(id)) continue;
    const begun = rest.endsWith('<unfinished ...>')
      ? rest.slice(0, -'<unfinished ...>'.length).trimEnd()
      : undefined;
    const resumed = /^<\.\.\. \w+ resumed>/.exec(rest);
    const text =
      resumed === null
        ? (begun ?? rest)
        : `${unfinished.get(id) ?? ''}${rest.slice(resumed[0].length)}`;
    if (begun !== undefined) unfinished.set(id, begun);
    const born =
      begun === undefined && /^clone3?\(.*CLONE_THREAD/.test(text)
        ? /\) += (\d+)$/.exec(text)?.[1]
        : undefined;
    if (born !== undefined) threads.add(Number(born));
    yield* parseCall(
      text,
      id,
      begun !== undefined ? 'begins' : resumed !== null ? 'ends' : 'whole',
    );
  }
}

const call = /^(\w+)\(\d+<((?:\\x[0-9a-f]{2})*)>/;
const strings = /"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?/g;

function* parseCall(
  text: string,
  id: number,
  part: 'whole' | 'begins' | 'ends',
): Generator<TraceEvent> {
  const head = call.exec(text);
  if (head === null) return;
  const [, name, target] = head as unknown as [string, string, string];
  const path = bytes(target).toString('utf8');
  const returned =
    part === 'begins' ? undefined : /\) += (-?\d+)(?: |$)/.exec(text.slice(-80))?.[1];
  if (name === 'fsync' || name === 'fdatasync') {
    if (part !== 'ends') yield { kind: 'sync-begins', path, id };
    if (returned === '0') yield { kind: 'synced', path, id };
    return;
  }
  if (name === 'ftruncate') {
    if (returned === '0')
      yield { kind: 'truncate', path, size: Number(/, (\d+)\)/.exec(text.slice(-80))?.[1]) };
    return;
  }
  const toFile = name === 'pwrite64';
  // a write that the kill interrupted may not have happened
  if (toFile ? returned === undefined || Number(returned) < 0 : part === 'ends') return;
  const parts: Buffer[] = [];
  for (const [, each, cut] of text.slice(head[0].length).matchAll(strings)) {
    if (cut !== undefined) throw new Error('the trace is cut: raise -s');
    parts.push(bytes(each as string));
  }
  const data = Buffer.concat(parts);
  if (!toFile) yield { kind: 'send', to: path, data };
  else
    yield {
      kind: 'write',
      path,
      offset: Number(/, (\d+)\) += \d+$/.exec(text.slice(-80))?.[1]),
      data: data.subarray(0, Number(returned)),
    };
}

const bytes = (text: string): Buffer => Buffer.from(text.replaceAll('\\x', ''), 'hex');

type Step = { readonly offset: number; readonly data: Buffer } | { readonly size: number };

/**
 * One file as a power failure would leave it: the writes before the last completed sync, and
 * nothing else.
 */
export class SyncedFile {
  #synced: Buffer = Buffer.alloc(0);
  #size = 0;
  #waiting: Step[] = [];
  /** How many steps were applied in all, and up to which step each sync under way reaches. */
  #taken = 0;
  readonly #reach = new Map<number, number>();
  syncs = 0;

  write(offset: number, data: Buffer): void {
    this.#waiting.push({ offset, data });
  }

  truncate(size: number): void {
    this.#waiting.push({ size });
  }

  begin(id: number): void {
    this.#reach.set(id, this.#taken + this.#waiting.length);
  }

  end(id: number): void {
    this.syncs += 1;
    const count = Math.max(0, (this.#reach.get(id) ?? 0) - this.#taken);
    this.#taken += count;
    for (const step of this.#waiting.splice(0, count)) this.#apply(step);
  }

  #apply(step: Step): void {
    if ('size' in step) {
      this.#reserve(step.size);
      if (step.size < this.#size) this.#synced.fill(0, step.size, this.#size);
      this.#size = step.size;
      return;
    }
    this.#reserve(step.offset + step.data.length);
    step.data.copy(this.#synced, step.offset);
    this.#size = Math.max(this.#size, step.offset + step.data.length);
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
