import { canonicalJson, type Json, type Operation } from '../common/approval/index.ts';
import { PkiError } from '../common/errors/index.ts';
import type { ApplyEntriesRequest__Output } from '../common/wire/generated/meshca/admin/v1/ApplyEntriesRequest.ts';
import type { ContinueRotationRequest__Output } from '../common/wire/generated/meshca/admin/v1/ContinueRotationRequest.ts';
import type { Entry__Output } from '../common/wire/generated/meshca/admin/v1/Entry.ts';
import type { RotateRequest__Output } from '../common/wire/generated/meshca/admin/v1/RotateRequest.ts';
import type { OperatorCaller } from '../services/caller.ts';
import type { Services } from '../services/contract.ts';
import { entryInput, entryMessage } from './convert/entries.ts';
import { authorityMessage, roleMessage } from './convert/views.ts';

type Explainer = (
  request: never,
  services: Services,
  caller: OperatorCaller,
  now: number,
) => Promise<readonly string[]>;

/**
 * What an operation would do, against what is there now, for whoever is to approve it: a help
 * beside the request itself, which he reads from the bytes that he signs. With the rights of the
 * reader: what he may not see is not told.
 */
export async function explain(
  { method, request }: Operation,
  services: Services,
  caller: OperatorCaller,
  now: number,
): Promise<readonly string[]> {
  const explainer = explainers[method.replace('/meshca.admin.v1.', '')];
  if (explainer === undefined) return [];
  try {
    return (await explainer(request as never, services, caller, now)).slice(0, 2_000);
  } catch (thrown) {
    const error = PkiError.from(thrown);
    return [`it can not be compared with what is there now: ${error.code} ${error.message}`];
  }
}

const explainers: Readonly<Record<string, Explainer>> = {
  'Entries/CreateEntries': async (
    { entries }: { readonly entries: readonly Entry__Output[] },
    services,
    caller,
    now,
  ) => [
    ...entries.flatMap((entry) =>
      diff(`create entry ${entry.id || '(new ID)'}`, undefined, stated(entry)),
    ),
    ...(await parents(entries, services, caller, now)),
  ],
  'Entries/UpdateEntry': async (
    { entry }: { readonly entry: Entry__Output },
    services,
    caller,
    now,
  ) => [
    ...diff(
      `update entry ${entry.id}`,
      await presentEntry(entry.id, services, caller),
      stated(entry),
    ),
    ...(await parents([entry], services, caller, now)),
  ],
  'Entries/DeleteEntries': async ({ ids }: { readonly ids: readonly string[] }, services, caller) =>
    (
      await Promise.all(
        ids.map(async (id) =>
          diff(`delete entry ${id}`, await presentEntry(id, services, caller), undefined),
        ),
      )
    ).flat(),
  'Entries/ApplyEntries': async (
    { entries, prune }: ApplyEntriesRequest__Output,
    services,
    caller,
    now,
  ) => {
    const { changes, unchanged } = await services.entries.apply(caller, entries.map(entryInput), {
      prune,
      dryRun: true,
    });
    return [
      ...changes.flatMap(({ action, before, after }) =>
        diff(
          `${action} entry ${(after ?? before)?.id ?? ''}`,
          before === undefined ? undefined : stated(entryMessage(before)),
          after === undefined ? undefined : stated(entryMessage(after)),
        ),
      ),
      `${unchanged} entries stay as they are`,
      ...(await parents(entries, services, caller, now)),
    ];
  },
  'Roles/PutRole': async (
    { role }: { readonly role: { readonly name: string; readonly members: readonly string[] } },
    services,
    caller,
    now,
  ) => [
    ...diff(
      `put role ${role.name}`,
      await presentRole(role.name, services, caller),
      withoutTimes(role),
    ),
    ...(await holders(role.members, services, caller, now)),
  ],
  'Roles/DeleteRole': async ({ name }: { readonly name: string }, services, caller) =>
    diff(`delete role ${name}`, await presentRole(name, services, caller), undefined),
  'Approvals/PutApprovalPolicy': async (
    { policy }: { readonly policy: object },
    services,
    caller,
  ) => {
    const { policy: present, version } = await services.approvals.policy(caller);
    return diff(
      `replace version ${version} of the approval policy`,
      policyFields(present),
      policyFields(policy as typeof present),
    );
  },
  'Certificates/MintX509Svid': ({
    spiffeId,
    admin,
    ttlSeconds,
  }: {
    readonly spiffeId: string;
    readonly admin: boolean;
    readonly ttlSeconds: number;
  }) =>
    Promise.resolve([
      `issue a certificate for ${spiffeId}${admin ? ', with the rights of an admin as far as roles name it' : ''}, for ${ttlSeconds === 0 ? 'the default time' : `${ttlSeconds} s`}`,
    ]),
  'Tokens/CreateJoinToken': ({
    agentName,
    nodeSelectors,
  }: {
    readonly agentName: string;
    readonly nodeSelectors: readonly string[];
  }) =>
    Promise.resolve([
      `let a node join as ${agentName}${nodeSelectors.length > 0 ? ` with the selectors ${nodeSelectors.join(', ')}` : ''}; what it could then obtain: meshca agent show`,
    ]),
  'Authorities/RotateAuthorities': async (
    { kind, stopAfter, force, shares, replica, region }: RotateRequest__Output,
    services,
    caller,
  ) => [
    ...(replica === '' && region === ''
      ? []
      : [
          `only for ${[replica === '' ? '' : `replica ${JSON.stringify(replica)}`, region === '' ? '' : `region ${JSON.stringify(region)}`].filter((text) => text !== '').join(' in ')}: in the place of the one that signs there alone, or beside those that sign everywhere`,
        ]),
    `make a successor of the ${kind} authority (prepared), publish it${stopAfter === 'prepared' ? ' not yet' : ''}, and ${stopAfter === '' ? `activate it ${proof(force, shares)}` : `stop when it is ${stopAfter}`}; what signs now is then trusted until its last leaf has expired`,
    ...(await authorities(services, caller, (each) => each.kind === kind)),
  ],
  'Authorities/ContinueRotation': async (
    { kind, id, force, shares }: ContinueRotationRequest__Output,
    services,
    caller,
  ) => [
    `go on with the rotation ${id || `of the ${kind} authority`}: activate its successor ${proof(force, shares)}`,
    ...(await authorities(services, caller, (each) => each.kind === kind || each.id === id)),
  ],
  'Authorities/WithdrawAuthority': ({ id }: { readonly id: string }, services, caller) =>
    authorities(services, caller, (each) => each.id === id),
  'Authorities/TaintAuthority': async (
    { id, force }: { readonly id: string; readonly force: boolean },
    services,
    caller,
  ) => [
    `have all leaves under ${id} replaced; where it is the last that signs, a successor first, ${proof(force, null)}`,
    ...(await authorities(services, caller, (each) => each.id === id)),
  ],
  'Authorities/CompromiseAuthority': async ({ id }: { readonly id: string }, services, caller) => {
    const plan = await services.rotation.planCompromise(caller, id);
    return [
      `taint ${plan.tainted.join(', ')}${plan.replacesRoot ? '; the root is replaced as well and leaves the bundle' : ''}`,
      `${plan.consumersEnforcingCrl} of ${plan.consumers} consumers enforce CRLs`,
      `${plan.live} live leaves, ${plan.liveUnreported} of them with holders that can not report; exposed until ${plan.exposedUntil === 0 ? 'then' : new Date(plan.exposedUntil * 1000).toISOString()}`,
      ...(await authorities(services, caller, (each) => plan.tainted.includes(each.id))),
    ];
  },
  'Authorities/RevokeAuthority': async (
    { id, force }: { readonly id: string; readonly force: boolean },
    services,
    caller,
  ) => [
    `revoke ${id}${force ? ' even while leaves of it are live (force)' : ', if no leaf of it is live'}`,
    ...(await authorities(services, caller, (each) => each.id === id)),
  ],
};

const proof = (
  force: boolean,
  shares: Readonly<Record<'proven' | 'inferred' | 'unprovable', number>> | null,
): string =>
  force
    ? 'WITHOUT waiting for proof (force)'
    : `when ${shares === null ? 'all consumers' : (['proven', 'inferred', 'unprovable'] as const).map((each) => `${shares[each] * 100} % ${each}`).join(', ')} have confirmed`;

type Fields = Readonly<Record<string, unknown>>;

/** A line for each field that changes. */
function diff(
  title: string,
  before: Fields | undefined,
  after: Fields | undefined,
): readonly string[] {
  const lines = [title];
  for (const key of [
    ...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]),
  ].sort()) {
    const [was, is] = [before?.[key], after?.[key]].map((value) =>
      value === undefined ? undefined : canonicalJson(value as Json),
    );
    if (was === is) continue;
    if (was !== undefined) lines.push(`- ${key}: ${was}`);
    if (is !== undefined) lines.push(`+ ${key}: ${is}`);
  }
  return lines;
}

/** What a creator states: without what the server adds, and without what is not set. */
function stated(entry: object): Fields {
  const {
    revision: _r,
    createdAt: _c,
    updatedAt: _u,
    createdBy: _b,
    ...own
  } = entry as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(own).filter(
      ([, value]) =>
        value !== '' &&
        value !== 0 &&
        value !== false &&
        !(Array.isArray(value) && value.length === 0),
    ),
  );
}

const withoutTimes = ({
  createdAt: _c,
  updatedAt: _u,
  ...role
}: Record<string, unknown> & { readonly name: string }): Fields => role;

const policyFields = (policy: {
  readonly enabled: boolean;
  readonly required: number;
  readonly lifeSeconds: number;
  readonly approvers: readonly { readonly name: string }[];
}): Fields => ({
  enabled: policy.enabled,
  required: policy.required,
  lifeSeconds: policy.lifeSeconds,
  ...Object.fromEntries(
    policy.approvers.map((approver) => [`approver ${approver.name}`, approver]),
  ),
});

async function presentEntry(
  id: string,
  services: Services,
  caller: OperatorCaller,
): Promise<Fields | undefined> {
  try {
    return stated(entryMessage(await services.entries.get(caller, id)));
  } catch (thrown) {
    if (PkiError.from(thrown).code === 'NOT_FOUND') return undefined;
    throw thrown;
  }
}

async function presentRole(
  name: string,
  services: Services,
  caller: OperatorCaller,
): Promise<Fields | undefined> {
  const { items } = await services.roles.list(caller, { size: 1000 });
  const found = items.find((each) => each.name === name);
  return found === undefined
    ? undefined
    : withoutTimes(roleMessage(found) as Record<string, unknown> & { readonly name: string });
}

const followed = 20;

/**
 * Who is a parent already, and who could become it with a token from before: an entry is worth what
 * its node is.
 */
async function parents(
  entries: readonly { readonly parentId: string }[],
  services: Services,
  caller: OperatorCaller,
  now: number,
): Promise<readonly string[]> {
  const ids = [...new Set(entries.map(({ parentId }) => parentId))].filter((id) =>
    id.includes('/meshca/agent/'),
  );
  const { items } =
    ids.length === 0 ? { items: [] } : await services.tokens.list(caller, { size: 1000 });
  return (
    await Promise.all(
      ids.slice(0, followed).map(async (id): Promise<readonly string[]> => {
        const open = items.filter(
          ({ agentId, usedAt, expiresAt }) => agentId === id && usedAt === null && expiresAt > now,
        );
        const agent = await services.agents.get(caller, id).then(
          (detail) => detail.agent,
          (thrown: unknown) => {
            if (PkiError.from(thrown).code === 'NOT_FOUND') return undefined;
            throw thrown;
          },
        );
        return [
          `now: the parent ${id} ${agent === undefined ? 'has not joined' : `is ${agent.state}, joined ${new Date(agent.attestedAt * 1000).toISOString()} by ${agent.attestationType}`}`,
          ...open.map(
            (token) =>
              `now: the join token ${token.id} of ${token.createdBy} lets a node become it until ${new Date(token.expiresAt * 1000).toISOString()}`,
          ),
        ];
      }),
    )
  ).flat();
}

/** What already gives somebody the identity that becomes a member. */
async function holders(
  members: readonly string[],
  services: Services,
  caller: OperatorCaller,
  now: number,
): Promise<readonly string[]> {
  return (
    await Promise.all(
      members.slice(0, followed).map(async (spiffeId): Promise<readonly string[]> => {
        const [{ items: entries }, { items: certificates }] = await Promise.all([
          services.entries.list(caller, { spiffeId }, { size: 20 }),
          services.certificates.list(
            caller,
            { spiffeId, kind: 'admin', state: 'issued', expiresAfter: now },
            'expiry',
            { size: 20 },
          ),
        ]);
        return [
          ...entries.map(
            (entry) =>
              `now: the entry ${entry.id} gives ${spiffeId}${entry.admin ? ' as an admin' : ''} to ${entry.parentId}`,
          ),
          ...certificates.map(
            ({ serial, notAfter }) =>
              `now: the admin certificate ${serial} of ${spiffeId} lives until ${new Date(notAfter * 1000).toISOString()}`,
          ),
        ];
      }),
    )
  ).flat();
}

async function authorities(
  services: Services,
  caller: OperatorCaller,
  concerned: (each: { readonly id: string; readonly kind: string }) => boolean,
): Promise<readonly string[]> {
  const views = (await services.authorities.list(caller, {})).filter(({ authority }) =>
    concerned(authority),
  );
  return views.map((view) => {
    const { id, kind, state, notAfter, liveCertificates } = authorityMessage(view);
    return `now: ${kind} ${id} is ${state}, ends ${new Date(Number(notAfter) * 1000).toISOString()}, ${liveCertificates} live certificates`;
  });
}
