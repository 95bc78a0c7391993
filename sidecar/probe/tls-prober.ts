import { fail, ok, type Result } from '../../src/common/errors/index.ts';
import { oneLine } from '../../src/common/runtime/index.ts';
import type { Clock, Random } from '../../src/common/runtime/index.ts';
import { ProbeFailure } from './failure.ts';
import type { ProvenListener, Shown } from './listener.ts';
import { lookOnce } from './look.ts';
import type { Prober } from './prober.ts';
import { prove } from './prove.ts';

export interface ProberDependencies {
  readonly clock: Clock;
  readonly random: Random;
  /** The listeners that the agent's own configuration names. Nothing else is ever connected to. */
  readonly configured: () => readonly ProvenListener[];
  /** For one connection with its handshake. */
  readonly connectionLimitMs: number;
}

const maximumMessage = 300;

/** Probes listeners by handshakes of its own. */
export function createProber(dependencies: ProberDependencies): Prober {
  const { clock, random } = dependencies;
  const look: Prober['look'] = (listener, signal) => lookAt(dependencies, listener, signal);
  return {
    look,
    prove: (demand, signal) => prove({ clock, random, look }, demand, signal),
  };
}

async function lookAt(
  { clock, configured, connectionLimitMs }: ProberDependencies,
  listener: ProvenListener,
  signal: AbortSignal,
): Promise<Result<Shown>> {
  const { address, protocol } = listener;
  const isConfigured = configured().some(
    (each) => each.address === address && each.protocol === protocol,
  );
  if (!isConfigured)
    return fail('PROBE_FAILED', `${address}: the configuration names no such listener`);
  try {
    return ok(await lookOnce(listener, { clock, limitMs: connectionLimitMs, signal }));
  } catch (thrown) {
    // whatever a server made the probe fail with, a set that is not shown goes back
    const { message, isRefusal } =
      thrown instanceof ProbeFailure
        ? thrown
        : { message: `the probe failed: ${String(thrown)}`, isRefusal: false };
    return fail('PROBE_FAILED', `${address}: ${oneLine(message).slice(0, maximumMessage)}`, {
      cause: thrown,
      detail: { refused: isRefusal },
    });
  }
}
