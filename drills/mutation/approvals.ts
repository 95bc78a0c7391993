import type { PkiError } from '../../src/common/errors/index.ts';
import type { TestServer } from '../../test/support/server.ts';
import { sshKey, sshSign, type SshIdentity } from '../../test/support/ssh.ts';

const approvalNamespace = 'meshca-approval@v1';

export interface Approval {
  /** Of the operation. */
  readonly id: string;
  readonly signature: string;
}

/** A policy of two, an operation that they executed, and one that one of them has approved. */
export async function approvalVictims(
  { admin }: TestServer,
  dir: string,
  step: () => void,
): Promise<{ readonly replayed: Approval; readonly executed: Approval }> {
  const [alice, bob, carol] = (await Promise.all(
    ['alice', 'bob', 'carol'].map((name) => sshKey(dir, name)),
  )) as [SshIdentity, SshIdentity, SshIdentity];
  const held = async (call: Promise<unknown>): Promise<string> => {
    const error = await call.then(
      () => undefined,
      (thrown: PkiError) => thrown,
    );
    if (error?.code !== 'APPROVAL_REQUIRED') throw new Error(`not held: ${String(error)}`);
    return String(error.detail['operationId']);
  };
  const signed = async (id: string, by: SshIdentity): Promise<string> =>
    sshSign(dir, by.keyPath, (await admin('Approvals/GetOperation', { id })).line, {
      namespace: approvalNamespace,
    });
  const approved = async (id: string, by: SshIdentity): Promise<string> => {
    const signature = await signed(id, by);
    await admin('Approvals/SubmitApproval', { id, signature });
    return signature;
  };
  const approvers = { alice, bob, carol };
  const policy = {
    enabled: true,
    required: 2,
    lifeSeconds: 80_000,
    approvers: Object.entries(approvers).map(([name, { publicKey }]) => ({ name, publicKey })),
  };
  const first = await held(admin('Approvals/PutApprovalPolicy', { policy, version: 0 }));
  await approved(first, alice);
  step();
  const executed = { id: first, signature: await approved(first, bob) };
  const second = await held(admin('Roles/DeleteRole', { name: 'writers' }));
  return { executed, replayed: { id: second, signature: await approved(second, carol) } };
}
