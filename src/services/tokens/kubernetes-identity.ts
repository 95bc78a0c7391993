import { fail, ok, type Result } from '../../common/errors/index.ts';
import type { KubernetesIdentity } from './token-verifier.ts';

const dnsName = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const uid = /^[A-Za-z0-9-]{1,64}$/;

interface Named {
  readonly name?: unknown;
  readonly uid?: unknown;
}

/**
 * The identity in the claims of a token whose signature was verified. Fails with TOKEN_MALFORMED.
 */
export function identityOfClaims(
  claims: Readonly<Record<string, unknown>>,
  cluster: string,
): Result<KubernetesIdentity> {
  const kubernetes = record(claims['kubernetes.io']);
  const account = record(kubernetes?.['serviceaccount']) as Named | undefined;
  const identity = checked({
    cluster,
    namespace: kubernetes?.['namespace'],
    account,
    pod: record(kubernetes?.['pod']),
    node: record(kubernetes?.['node']),
  });
  if (identity === undefined)
    return fail('TOKEN_MALFORMED', 'the token has no claim kubernetes.io of a service account');
  return claims['sub'] === usernameOf(identity)
    ? ok(identity)
    : fail('TOKEN_MALFORMED', 'subject and service account of the token differ');
}

/**
 * The identity in the answer to a TokenReview. Undefined: the user is no service account, or the
 * answer lacks what belongs to it.
 */
export function identityOfReview(
  user: { readonly username?: unknown; readonly uid?: unknown; readonly extra?: unknown },
  cluster: string,
): KubernetesIdentity | undefined {
  const { username } = user;
  const found =
    typeof username === 'string' ? /^system:serviceaccount:([^:]+):([^:]+)$/.exec(username) : null;
  if (found === null) return undefined;
  const extra = record(user.extra) ?? {};
  const first = (key: string): unknown => {
    const values = extra[`authentication.kubernetes.io/${key}`];
    return Array.isArray(values) ? (values as readonly unknown[])[0] : undefined;
  };
  const named = (name: unknown, id: unknown): Named | undefined =>
    name === undefined ? undefined : { name, uid: id };
  return checked({
    cluster,
    namespace: found[1],
    account: { name: found[2], uid: user.uid },
    pod: named(first('pod-name'), first('pod-uid')),
    node: named(first('node-name'), first('node-uid')),
  });
}

export const usernameOf = ({
  namespace,
  serviceAccount,
}: Pick<KubernetesIdentity, 'namespace' | 'serviceAccount'>): string =>
  `system:serviceaccount:${namespace}:${serviceAccount}`;

function checked({
  cluster,
  namespace,
  account,
  pod,
  node,
}: {
  readonly cluster: string;
  readonly namespace: unknown;
  readonly account: Named | undefined;
  readonly pod: Named | undefined;
  readonly node: Named | undefined;
}): KubernetesIdentity | undefined {
  const fits = (value: unknown, pattern: RegExp): value is string =>
    typeof value === 'string' && pattern.test(value);
  if (!fits(namespace, label) || !fits(account?.name, dnsName)) return undefined;
  if (pod !== undefined && !(fits(pod.name, dnsName) && fits(pod.uid, uid))) return undefined;
  if (node !== undefined && !fits(node.name, dnsName)) return undefined;
  return {
    cluster,
    namespace,
    serviceAccount: account.name,
    serviceAccountUid: fits(account.uid, uid) ? account.uid : undefined,
    pod: pod === undefined ? undefined : { name: pod.name as string, uid: pod.uid as string },
    node:
      node === undefined
        ? undefined
        : { name: node.name as string, uid: fits(node.uid, uid) ? node.uid : undefined },
  };
}

const record = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
