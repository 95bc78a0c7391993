import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PkiError } from '../../src/common/errors/index.ts';
import type { OperationDetail__Output } from '../../src/common/wire/generated/meshca/admin/v1/OperationDetail.ts';
import { sshKey, sshSign, type SshIdentity } from './ssh.ts';
import { startTestServer, type TestServer } from './server.ts';

export const namespace = 'meshca-approval@v1';
export const aliceId = 'spiffe://mesh.test/admin/alice';

export interface DualWorld extends AsyncDisposable {
  readonly server: TestServer;
  readonly keys: {
    readonly alice: SshIdentity;
    readonly bob: SshIdentity;
    readonly carol: SshIdentity;
    readonly mallory: SshIdentity;
  };
  readonly dir: string;
  readonly policy: object;
  /** The ID of the operation that a call became; throws if it became none. */
  held(call: Promise<unknown>): Promise<string>;
  sign(id: string, key: SshIdentity, namespace?: string): Promise<string>;
  approve(id: string, ...keys: SshIdentity[]): Promise<OperationDetail__Output>;
}

/**
 * A server with dual control on: two of alice, bob and carol, of whom alice is known as an admin
 * too.
 */
export async function startDualWorld(): Promise<DualWorld> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-dual-'));
  const server = await startTestServer();
  const [alice, bob, carol, mallory] = (await Promise.all(
    ['alice', 'bob', 'carol', 'mallory'].map((name) => sshKey(dir, name)),
  )) as [SshIdentity, SshIdentity, SshIdentity, SshIdentity];
  const keys = { alice, bob, carol, mallory };
  const policy = {
    enabled: true,
    required: 2,
    lifeSeconds: 3600,
    approvers: [
      { name: 'alice', publicKey: alice.publicKey, identities: [aliceId] },
      { name: 'bob', publicKey: bob.publicKey },
      { name: 'carol', publicKey: carol.publicKey },
    ],
  };
  const held = async (call: Promise<unknown>): Promise<string> => {
    const error = await call.then(
      () => undefined,
      (thrown: PkiError) => thrown,
    );
    if (error?.code !== 'APPROVAL_REQUIRED')
      throw new Error(`not held: ${error?.code ?? 'done'} ${error?.message ?? ''}`);
    return String(error.detail['operationId']);
  };
  const sign = async (id: string, key: SshIdentity, under = namespace): Promise<string> =>
    sshSign(dir, key.keyPath, (await server.admin('Approvals/GetOperation', { id })).line, {
      namespace: under,
    });
  const approve = async (id: string, ...by: SshIdentity[]) => {
    let detail: OperationDetail__Output | undefined;
    for (const key of by)
      detail = await server.admin('Approvals/SubmitApproval', {
        id,
        signature: await sign(id, key),
      });
    return detail!;
  };
  const world: DualWorld = {
    server,
    keys,
    dir,
    policy,
    held,
    sign,
    approve,
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    },
  };
  return world;
}

export async function switchOn(world: DualWorld): Promise<void> {
  const id = await world.held(
    world.server.admin('Approvals/PutApprovalPolicy', { policy: world.policy, version: 0 }),
  );
  await world.approve(id, world.keys.alice, world.keys.bob);
}
