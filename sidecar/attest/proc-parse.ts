/**
 * Parsers of /proc (proc_pid_status(5), proc_pid_stat(5), cgroups(7)). Each returns undefined for
 * text that it does not understand.
 */

export interface ProcessStatus {
  /** Real, effective, saved, file system. */
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly groups: readonly number[];
}

export function parseStatus(text: string): ProcessStatus | undefined {
  const uids = numbers(line(text, 'Uid:'));
  const gids = numbers(line(text, 'Gid:'));
  const groups = numbers(line(text, 'Groups:'));
  if (uids?.length !== 4 || gids?.length !== 4 || groups === undefined) return undefined;
  return { uids, gids, groups };
}

export interface ProcessStat {
  /** Clock ticks since boot. */
  readonly startTime: string;
  /**
   * Changes with each execve(2): the addresses of code, data and stack, which the kernel
   * randomises. Reading it does not touch the binary's file system, which may hang. Undefined if
   * the kernel hides the addresses from the agent (no ptrace right).
   */
  readonly image: string | undefined;
}

/**
 * Positions of the start time and of the addresses: start and end of the code, start of the stack,
 * start and end of the data, start of the heap. They are counted from the state (field 3 of the
 * manual), which follows the command name in parentheses.
 */
const imageFields = [19, 23, 24, 25, 42, 43, 44];

export function parseStat(text: string): ProcessStat | undefined {
  // the process chooses its command name, which may hold spaces and parentheses
  const close = text.lastIndexOf(')');
  if (close < 0) return undefined;
  const fields = fieldsAt(text, close + 2, imageFields);
  const startTime = fields?.[0];
  if (fields === undefined || startTime === undefined || !isDecimal(startTime)) return undefined;
  if (fields[3] === '0') return { startTime, image: undefined };
  return { startTime, image: fields.slice(1).join(':') };
}

/** The fields at these ascending positions. Undefined: the text has fewer. */
function fieldsAt(
  text: string,
  from: number,
  positions: readonly number[],
): readonly string[] | undefined {
  const found: string[] = [];
  let start = from;
  for (let position = 0; start < text.length; position += 1) {
    const end = endOfField(text, start);
    if (position === positions[found.length]) found.push(text.slice(start, end));
    if (found.length === positions.length) return found;
    start = end + 1;
  }
  return undefined;
}

function endOfField(text: string, start: number): number {
  let end = start;
  while (end < text.length && text.charCodeAt(end) > blank) end += 1;
  return end;
}

const blank = 0x20;

function isDecimal(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) return false;
  }
  return text !== '';
}

export interface ProcessCgroup {
  /** The path in the unified hierarchy, or else in systemd's. Undefined at the root. */
  readonly path: string | undefined;
  /** The key of limits: the path in the first hierarchy in which the process is not at the root. */
  readonly limitKey: string;
}

const countedHierarchies = ['', 'name=systemd', 'pids', 'memory', 'cpu'];

export function parseCgroup(text: string): ProcessCgroup {
  const paths = new Map<string, string>();
  for (let at = 0; at < text.length; ) {
    const newline = text.indexOf('\n', at);
    const end = newline < 0 ? text.length : newline;
    const first = text.indexOf(':', at);
    const second = text.indexOf(':', first + 1);
    if (first >= 0 && second > first && second < end) {
      const path = text.slice(second + 1, end);
      const controllers = text.slice(first + 1, second);
      if (controllers.includes(','))
        for (const controller of controllers.split(',')) paths.set(controller, path);
      else paths.set(controllers, path);
    }
    at = end + 1;
  }
  const below = (controller: string): string | undefined => {
    const path = paths.get(controller);
    return path === '/' ? undefined : path;
  };
  const limitKey = countedHierarchies.map(below).find((path) => path !== undefined) ?? '/';
  return { path: below('') ?? below('name=systemd'), limitKey };
}

const unitName = /^[A-Za-z0-9:_.\\@-]{1,255}\.(?:service|scope)$/;

/**
 * The system unit of a cgroup path: the first element that is not a slice. Elements below belong to
 * the unit's user (`user@1000.service/app.slice/x.service`), who chooses their names, so they never
 * count.
 */
export function systemdUnit(cgroupPath: string): string | undefined {
  const element = cgroupPath.split('/').find((part) => part !== '' && !part.endsWith('.slice'));
  if (element === undefined) return undefined;
  // systemd escapes names that collide with cgroup attributes by a leading underscore
  const name = element.startsWith('_') ? element.slice(1) : element;
  return unitName.test(name) ? name : undefined;
}

function line(text: string, key: string): string | undefined {
  const at = text.startsWith(key) ? 0 : text.indexOf(`\n${key}`) + 1;
  if (at === 0 && !text.startsWith(key)) return undefined;
  const end = text.indexOf('\n', at);
  return text.slice(at + key.length, end < 0 ? undefined : end);
}

function numbers(text: string | undefined): readonly number[] | undefined {
  if (text === undefined) return undefined;
  const values: number[] = [];
  for (let start = 0; start < text.length; ) {
    const end = endOfField(text, start);
    if (end > start) {
      const word = text.slice(start, end);
      const value = Number(word);
      if (!isDecimal(word) || !Number.isSafeInteger(value)) return undefined;
      values.push(value);
    }
    start = end + 1;
  }
  return values;
}
