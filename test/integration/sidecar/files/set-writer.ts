// Writes sets and swaps them, and kills itself with SIGKILL before a given step. Started by
// set-kill.test.ts: node set-writer.ts DIRECTORY STEP
import { TargetSets } from '../../../../sidecar/files/set-directory.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { effectiveUser } from '../../../../src/common/unix/effective-user.ts';
import {
  plainLayout,
  plainPermissions,
  setContent,
  setIssuer,
  steppedFiles,
} from '../../../support/certificate-sets.ts';

const [directory, last] = process.argv.slice(2) as [string, string];
const files = steppedFiles((step) => {
  if (step === Number(last)) process.kill(process.pid, 'SIGKILL');
});
const layout = { ...plainLayout, links: true };
const sets = new TargetSets(
  { directory, layout, permissions: plainPermissions },
  { files, user: effectiveUser() },
);
const issuer = setIssuer();
for (;;) {
  const set = unwrap(await sets.write(setContent(issuer)));
  unwrap(await sets.swap(set));
  for (const old of await sets.list()) if (old.name !== set.name) unwrap(await sets.remove(old));
}
