import assert from 'node:assert/strict';
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { unwrap } from '../../src/common/errors/index.ts';
import { effectiveUser } from '../../src/common/unix/effective-user.ts';
import { fileOperations, TargetSets } from '../../sidecar/files/index.ts';
import { layouts } from '../../sidecar/files/layouts.ts';
import { plainPermissions, setContent, setIssuer } from '../support/certificate-sets.ts';
import { IstioAgent } from './istio-process.ts';

const id = 'spiffe://td/ns/shop/sa/web';

test("Istio's agent takes the set of a target with the layout istio, and each next one at its swap", async (context) => {
  const parent = await realpath(await mkdtemp(join(tmpdir(), 'meshca-istio-files-')));
  context.after(() => rm(parent, { recursive: true, force: true }));
  const directory = join(parent, 'workload-spiffe-credentials');
  await mkdir(directory);
  const layout = { ...layouts.istio, pkcs12: undefined, jks: undefined };
  const sets = new TargetSets(
    { directory, layout, permissions: plainPermissions },
    { files: fileOperations, user: effectiveUser() },
  );
  const issuer = setIssuer();
  const serve = async (): Promise<string> => {
    const set = unwrap(await sets.write(setContent(issuer, { uriSans: [id] })));
    unwrap(await sets.swap(set));
    return set.serial;
  };
  const first = await serve();
  await using agent = new IstioAgent({ mode: 'files', files: directory, id });
  const shows = (serial: string): Promise<void> =>
    agent.until(
      () => agent.identities.at(-1)?.serial === serial,
      `the agent has the certificate ${serial}`,
    );
  await shows(first);
  for (let round = 0; round < 3; round += 1) await shows(await serve());
  // the rest of what was served before goes after a grace
  for (const set of await sets.list())
    if (set.name !== (await sets.current())?.name) unwrap(await sets.remove(set));
  await shows(await serve());
  assert.deepEqual(
    agent.lines.filter(({ event }) => event === 'refused'),
    [],
  );
});
