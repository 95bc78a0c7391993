// One target of an agent, as a process that a test kills. Started by delivery-kill.test.ts with IPC:
// node delivery-agent.ts DIRECTORY DATA_DIR ADDRESS LABEL PROOF_SECONDS. The test is its authority and its
// server.
import { once } from 'node:events';
import { ok, unwrap, type Result } from '../../../../src/common/errors/index.ts';
import { silentLogger, systemClock, systemRandom } from '../../../../src/common/runtime/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { effectiveUser } from '../../../../src/common/unix/effective-user.ts';
import { Delivery } from '../../../../sidecar/files/delivery.ts';
import { DeliveryConsumer } from '../../../../sidecar/files/delivery-consumer.ts';
import { FileDeliveryJournal } from '../../../../sidecar/files/delivery-journal.ts';
import { DeliverySteps } from '../../../../sidecar/files/delivery-steps.ts';
import type { Driver } from '../../../../sidecar/files/driver.ts';
import { checkSet, fileOperations, TargetSets } from '../../../../sidecar/files/index.ts';
import { createProber } from '../../../../sidecar/probe/index.ts';
import { Consumers } from '../../../../sidecar/sync/index.ts';
import { plainLayout, plainPermissions } from '../../../support/certificate-sets.ts';
import { fileTarget } from '../../../support/delivery.ts';
import { stateWrites } from '../../../support/state-writes.ts';
import { until } from '../../../support/until.ts';
import type { Answer, Question, WireContent } from './delivery-messages.ts';

const [directory, dataDir, address, label, proofSeconds] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];

async function ask(question: Question): Promise<Answer> {
  process.send?.(question);
  const [answer] = (await once(process, 'message')) as [Answer];
  return answer;
}

/** Does a step, and dies before or after it where the test wants that. */
async function mortal<T>(name: string, act: () => Promise<T>): Promise<T> {
  if (label === `before ${name}`) process.kill(process.pid, 'SIGKILL');
  const result = await act();
  if (label === `after ${name}`) process.kill(process.pid, 'SIGKILL');
  return result;
}

const listener = { address, serverName: 'localhost', protocol: 'tls' as const };
const target = fileTarget({
  directory,
  layout: plainLayout,
  permissions: plainPermissions,
  listeners: [listener],
  proof: { handshakes: 2, timeoutSeconds: Number(proofSeconds) },
});
const user = effectiveUser();
const real = new TargetSets(target, { files: fileOperations, user });
let goesBack = false;
const sets = {
  list: () => real.list(),
  current: () => real.current(),
  write: (content: Parameters<typeof real.write>[0]) => mortal('write', () => real.write(content)),
  swap: (set: Parameters<typeof real.swap>[0]) =>
    mortal(goesBack ? 'swap back' : 'swap', () => real.swap(set)),
  unlink: () => real.unlink(),
  remove: (set: Parameters<typeof real.remove>[0]) => mortal('remove', () => real.remove(set)),
};
const told = async (name: 'apply' | 'rollback'): Promise<Result<never>> =>
  (await mortal(name, () => ask({ kind: name }))) as never;
const driver: Driver = {
  stage: () => mortal('stage', async () => ok(undefined)),
  apply: async () => {
    await told('apply');
    return ok({ trust: 'unknown', note: '' });
  },
  verify: () => mortal('verify', async () => ok({ trust: 'unknown', note: '' })),
  rollback: async () => {
    await told('rollback');
    return ok(undefined);
  },
  remove: async () => ok(undefined),
};
const clock = systemClock;
const random = systemRandom;
const prober = createProber({
  ...{ clock, random },
  configured: () => [listener],
  connectionLimitMs: 5000,
});
const contentOf = (wire: WireContent) => ({
  spiffeId: SpiffeId.of(wire.spiffeId),
  forNames: undefined,
  serial: wire.serial,
  chainDer: wire.chain.map((der) => Buffer.from(der, 'base64')),
  privateKeyPkcs8Der: Buffer.from(wire.key, 'base64'),
  rootsDer: wire.roots.map((der) => Buffer.from(der, 'base64')),
  crlsDer: [],
  federatedDer: new Map(),
  authoritySetDigest: Buffer.from(wire.digest, 'hex'),
  notBefore: wire.notBefore,
  notAfter: wire.notAfter,
});
const { content: first } = await ask({ kind: 'lease' });
const roots = contentOf(first as WireContent).rootsDer;
const steps = new DeliverySteps({
  ...{ target, sets, driver, clock },
  prober: {
    look: (...of) => prober.look(...of),
    prove: (...of) => mortal(goesBack ? 'prove back' : 'prove', () => prober.prove(...of)),
  },
  lease: {
    fits: () => false,
    obtain: async () => {
      const content = contentOf((await ask({ kind: 'lease' })).content as WireContent);
      return ok({
        content,
        facts: {
          rootNames: [],
          crlsDigest: '',
          federatedDigest: '',
          spiffeId: content.spiffeId.toString(),
          entryId: 'web',
          entryRevision: 1,
          authorityId: 'issuer',
          renewAt: content.notAfter,
          endsAt: content.notAfter,
        },
      });
    },
  },
  check: (set, previous) =>
    mortal('check', () =>
      checkSet(
        {
          ...{ target, set, previous },
          wanted: {
            kind: 'identity',
            spiffeId: SpiffeId.of((first as WireContent).spiffeId),
            dnsNames: [],
          },
          ...{ rootsDer: roots, crlsDer: [], now: clock.now() },
          federatedDer: new Map(),
        },
        { files: fileOperations, user },
      ),
    ),
});
const run = steps.run.bind(steps);
steps.run = (step, ...rest) => {
  goesBack = ['swap-back', 'driver-back', 'prove-back'].includes(step);
  return run(step, ...rest);
};
const consumers = new Consumers(clock, () => {});
const delivery = new Delivery({
  ...{ target, sets, steps, clock, random },
  journal: new FileDeliveryJournal(dataDir, stateWrites()),
  consumer: new DeliveryConsumer(consumers, clock, target),
  world: () => ({
    authoritySetDigest: (first as WireContent).digest,
    federatedDigest: '',
    ...{ crlsDigest: undefined, identity: undefined, tainted: new Map() },
  }),
  ready: () => true,
  connected: () => true,
  events: { delivered: () => {}, failed: () => {}, replaced: () => {} },
  onChange: () => {},
  logger: silentLogger,
});
await delivery.start();
// what the process before left is finished first
await until(async () => {
  const staged = await delivery.stage();
  if (!staged.ok && staged.error.code !== 'CONFLICT') throw staged.error;
  return staged.ok;
}, 'a set is staged');
const { state, sets: onDisk } = unwrap(await delivery.promote());
const current = onDisk.find((each) => each.current)?.name ?? '';
await ask({ kind: 'done', state, current });
process.exit(0);
