import { fail, ok, PkiError, type Result } from '../../src/common/errors/index.ts';
import type { Clock, Random } from '../../src/common/runtime/index.ts';
import type { ProvenListener, Shown } from './listener.ts';
import type { Proof, ProofDemand, Prober } from './prober.ts';

export interface ProvingDependencies {
  readonly clock: Clock;
  readonly random: Random;
  readonly look: Prober['look'];
}

/** Pauses between handshakes at one listener, before they are spread. */
const pauseMs = { shown: 25, other: 100 } as const;

/**
 * A server that shows neither leaf so often in a row, or refuses its clients, has lost its
 * certificate, and each moment costs.
 */
const strangeInARow = 5;

/** What one listener has shown so far. */
interface Course {
  readonly listener: ProvenListener;
  inARow: number;
  strange: number;
  trustShown: boolean;
  last: string;
}

/** See Prober.prove. */
export async function prove(
  dependencies: ProvingDependencies,
  demand: ProofDemand,
  signal: AbortSignal,
): Promise<Result<Proof>> {
  if (demand.listeners.length === 0)
    return fail('PROOF_MISSING', 'the target names no listener at which anything can be shown');
  const { clock } = dependencies;
  const startedMs = clock.monotonicMs();
  const over = new AbortController();
  const cancel = clock.after(demand.timeoutMs, () => over.abort());
  const both = AbortSignal.any([signal, over.signal]);
  const courses = demand.listeners.map<Course>((listener) => ({
    listener,
    inARow: 0,
    strange: 0,
    trustShown: true,
    last: 'was not reached',
  }));
  try {
    await Promise.all(
      courses.map(async (course) => {
        await follow(dependencies, demand, course, both);
        if (course.strange >= strangeInARow) over.abort();
      }),
    );
  } finally {
    cancel();
  }
  const wanted = Math.max(1, demand.handshakes);
  const late = courses.filter(({ inARow }) => inARow < wanted);
  if (late.length > 0) return missing(demand, late, clock.monotonicMs() - startedMs);
  return ok({ trust: courses.every(({ trustShown }) => trustShown) ? 'shown' : 'unknown' });
}

async function follow(
  { clock, random, look }: ProvingDependencies,
  demand: ProofDemand,
  course: Course,
  signal: AbortSignal,
): Promise<void> {
  const wanted = Math.max(1, demand.handshakes);
  while (!signal.aborted) {
    const answer = await look(course.listener, signal);
    if (signal.aborted) return;
    const isShown = answer.ok && answer.value.leafSha256 === demand.leafSha256;
    if (isShown) {
      if (course.inARow === 0) course.trustShown = true;
      course.inARow += 1;
      course.strange = 0;
      course.trustShown &&= namesExactly(answer.value, demand.rootNamesDer);
      course.last = `showed the new certificate ${course.inARow} of ${wanted} times in a row`;
      if (course.inARow >= wanted) return;
    } else {
      course.inARow = 0;
      course.last = answer.ok ? `showed ${answer.value.serial}` : answer.error.message;
      course.strange = isStrange(answer, demand) ? course.strange + 1 : 0;
      if (course.strange >= strangeInARow) return;
    }
    // spread, so that handshakes do not fall in step with the workers of the server
    const pause = (isShown ? pauseMs.shown : pauseMs.other) * (0.5 + random.uniform());
    await clock.sleep(pause, { signal }).catch(() => undefined);
  }
}

/** A server that is being restarted is away, and neither shows nor refuses anything. */
function isStrange(answer: Result<Shown>, { leafSha256Before }: ProofDemand): boolean {
  if (leafSha256Before === undefined) return false;
  return answer.ok
    ? answer.value.leafSha256 !== leafSha256Before
    : answer.error.detail['refused'] === true;
}

/**
 * Whether a server asks for certificates of exactly these roots. Two roots with one name can not be
 * told apart by it, so that they show nothing. Nor does TLS 1.2, whose request nobody signs.
 */
function namesExactly(shown: Shown, rootNamesDer: readonly Buffer[]): boolean {
  const wanted = new Set(rootNamesDer.map((name) => name.toString('base64')));
  if (shown.tlsVersion !== '1.3' || wanted.size === 0 || wanted.size !== rootNamesDer.length)
    return false;
  const asked = new Set(shown.caNamesDer?.map((name) => name.toString('base64')));
  return asked.size === wanted.size && [...wanted].every((name) => asked.has(name));
}

function missing(demand: ProofDemand, late: readonly Course[], tookMs: number): Result<Proof> {
  const lines = late.map(({ listener, last }) => `${listener.address} ${last}`);
  return {
    ok: false,
    error: new PkiError(
      'PROOF_MISSING',
      `not every listener showed the certificate ${demand.serial} within ` +
        `${Math.round(tookMs / 100) / 10} s: ${lines.join('; ')}`,
      { detail: { serial: demand.serial, listeners: lines.join('; ') } },
    ),
  };
}
