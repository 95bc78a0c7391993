// Delivers the next set to a real server, and kills itself with SIGKILL at a given step; or brings to
// its end what an earlier one left. Started by file-targets-kill.interop.ts: node delivery-child.ts PLAN [STEP]
import { readFileSync } from 'node:fs';
import { servedDelivery, type ServedDeliveryOptions } from '../support/served-delivery.ts';
import { act, deliver } from '../support/served-scene.ts';

const [planFile, last] = process.argv.slice(2) as [string, string | undefined];
const plan = JSON.parse(readFileSync(planFile, 'utf8')) as Omit<ServedDeliveryOptions, 'onStep'>;
const delivery = servedDelivery({
  ...plan,
  onStep: (step) => {
    if (step === last) process.kill(process.pid, 'SIGKILL');
  },
});
await delivery.start();
if (last === undefined) await act(() => delivery.promote());
else await deliver(delivery);
process.stdout.write(JSON.stringify(delivery.status()));
await delivery[Symbol.asyncDispose]();
