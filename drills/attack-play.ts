import { treeCpu } from '../bench/cpu.ts';
import { until } from '../test/support/until.ts';
import type { AttackOrder } from './attack-messages.ts';
import { AttackerChild } from './attacker-child.ts';
import { round, type Breaches } from './drill.ts';
import { within } from './within.ts';

const honestCalls = 3;
/**
 * The most processor time that an attacker may have spent before an honest caller has its answer.
 * Many times what is measured, and far below what an attacker can afford.
 */
const mostHonestCpuMs = 2_000;

/** One line of the table. Processor times, never wall times: a slow machine changes none of it. */
export interface AttackRow {
  readonly attack: string;
  readonly tried: number;
  readonly attackerCpuMs: number;
  readonly attackedCpuMs: number;
  /** What we pay for each unit that the attacker pays. */
  readonly ratio: number;
  /** Attempts of the attacker between the honest caller's question and its answer, the most. */
  readonly honestWaited: number;
  /** Processor time of the attacker in between, the most. */
  readonly honestWaitedCpuMs: number;
  /** Why an honest caller got no answer; null where each got one. */
  readonly unanswered: string | null;
}

export interface Attack {
  readonly attack: string;
  readonly order: AttackOrder;
  /** The attacked process. */
  readonly pid: number;
  /** The most that we may pay for each unit of the attacker. */
  readonly most: number;
  /** Resolves when an honest caller was answered. The signal ends the call. */
  honest(signal: AbortSignal): Promise<void>;
}

interface PlayOptions {
  /** Processor time of the attacker. */
  readonly cpuMs: number;
  readonly signal: AbortSignal;
  /** How long an honest caller waits for its answer. */
  readonly patienceMs?: number;
}

/** Plays one attack. It ends when the attacker has spent its time, or an honest call got nothing. */
export async function play(
  { attack, order, pid, honest }: Attack,
  { cpuMs, signal, patienceMs }: PlayOptions,
): Promise<AttackRow> {
  using attacker = new AttackerChild(order, signal);
  await attacker.ready();
  const before = treeCpu(pid).mainMs;
  let [honestWaited, honestWaitedCpuMs] = [0, 0];
  let unanswered: string | null = null;
  for (let each = 1; each <= honestCalls && unanswered === null; each += 1) {
    const share = (cpuMs * each) / honestCalls;
    await until(async () => (await attacker.count()).cpuMs >= share, `${attack}: its attempts`);
    const asked = await attacker.count();
    unanswered = await reasonOf(honest, patienceMs);
    const answered = await attacker.count();
    honestWaited = Math.max(honestWaited, answered.tried - asked.tried);
    honestWaitedCpuMs = Math.max(honestWaitedCpuMs, answered.cpuMs - asked.cpuMs);
  }
  const end = await attacker.stop();
  const attackedCpuMs = treeCpu(pid).mainMs - before;
  return {
    attack,
    tried: end.tried,
    attackerCpuMs: Math.round(end.cpuMs),
    attackedCpuMs: Math.round(attackedCpuMs),
    ratio: round(attackedCpuMs / end.cpuMs),
    honestWaited,
    honestWaitedCpuMs: Math.round(honestWaitedCpuMs),
    unanswered,
  };
}

/** Null: the caller was answered in time. */
async function reasonOf(honest: Attack['honest'], patienceMs?: number): Promise<string | null> {
  const ended = new AbortController();
  try {
    await within(honest(ended.signal), 'an answer', patienceMs);
    return null;
  } catch (thrown) {
    return (thrown as Error).message;
  } finally {
    ended.abort();
  }
}

/** What of the promise the attack broke. */
export function judge(row: AttackRow, most: number, breaches: Breaches): void {
  breaches.expect(
    row.ratio <= most,
    `${row.attack}: it costs us ${row.ratio} times what it costs the attacker, more than ${most}`,
  );
  breaches.expect(
    row.unanswered === null,
    `${row.attack}: an honest caller was not answered: ${row.unanswered}`,
  );
  breaches.expect(
    row.honestWaitedCpuMs <= mostHonestCpuMs,
    `${row.attack}: an honest caller waited while the attacker spent ` +
      `${row.honestWaitedCpuMs} ms of processor time, more than ${mostHonestCpuMs}`,
  );
}
