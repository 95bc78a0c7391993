import {
  builtInPolicyVersion,
  firstEnded,
  lineFrom,
  wantRows,
  type LoggedValues,
  type LogObjectKind,
  type ReadRow,
  type RightEnded,
  type RightNoun,
  type RightRows,
  type Rights,
} from '../../domain/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { LogGuard } from '../ports/index.ts';
import { acmeAccountById } from './acme-accounts.ts';
import { acmeOrderById } from './acme-order-rows.ts';
import type { AgentLineRows } from './agent-lines.ts';
import { toAgent } from './agents.ts';
import { toAuthority } from './authority-rows.ts';
import type { IsKeyBlocked } from './blocked-keys.ts';
import { fromHexOrUndefined, hex } from './codec.ts';
import { createDelegationReader } from './delegations.ts';
import { eabKeyById } from './eab-keys.ts';
import type { Engine } from './engine.ts';
import { toEntry } from './entry-row.ts';
import { newestIssuancePolicy } from './issuance-policies.ts';
import { KeptRows } from './kept-rows.ts';
import { tenantByName } from './tenants.ts';

/**
 * Judges the rights of a batch inside its transaction. Returns one result per item, in order;
 * undefined if all its rights stand at `now` (Unix seconds). Every named row is read once before
 * the judgement: the items of a batch share authority, agent and caller.
 */
export type RightsCheck = (
  batch: readonly Rights[],
  now: number,
) => readonly (RightEnded | undefined)[];

type Row<N extends RightNoun> = RightRows[N] | 'unproven' | undefined;
type Readers = { readonly [N in RightNoun]: (key: string) => Row<N> };

export function createRightsCheck(
  engine: Engine,
  guard: LogGuard,
  { lines, isBlocked }: { readonly lines: AgentLineRows; readonly isBlocked: IsKeyBlocked },
): RightsCheck {
  const kept = new KeptRows(engine);
  const proven = provenReader(guard, kept);
  const readers: Readers = {
    authority: authorityReader(engine, proven),
    entry: entryReader(engine, proven),
    ...agentReaders(engine, proven, lines),
    delegation: delegationReader(engine, proven),
    certificate: certificateReader(engine, { guard, kept, isBlocked }),
    'public-key': (sha256) => ({ blocked: isBlocked(sha256) }),
    policy: policyReader(engine, proven, kept),
    quota: (counter) => ({ ends: guard.placeEnds(counter) }),
    ...acmeReaders(engine, proven),
  };
  return (batch, now) => {
    const rows = readRows(batch, readers);
    const taken = new PlacesOfBatch(rows);
    return batch.map((rights) => {
      const ended = firstEnded(rights, taken.read, now);
      if (ended === undefined) taken.take(rights, now);
      return ended;
    });
  };
}

/** What items of a batch take of a quota is taken for those behind them. */
class PlacesOfBatch {
  readonly #rows: ReadRow;
  readonly #taken = new Map<string, number[]>();

  constructor(rows: ReadRow) {
    this.#rows = rows;
  }

  readonly read: ReadRow = (noun, key) => {
    const row = this.#rows(noun, key);
    const taken = noun === 'quota' ? this.#taken.get(key) : undefined;
    if (taken === undefined || row === undefined || row === 'unproven') return row;
    return { ends: [...(row as RightRows['quota']).ends, ...taken] } as unknown as typeof row;
  };

  take(rights: Rights, now: number): void {
    for (const right of rights) {
      if (right.kind !== 'quota') continue;
      const taken = this.#taken.get(right.counter) ?? [];
      taken.push(now + right.perSeconds);
      this.#taken.set(right.counter, taken);
    }
  }
}

function readRows(batch: readonly Rights[], readers: Readers): ReadRow {
  const rows = new Map<RightNoun, Map<string, Row<RightNoun>>>();
  const want = <N extends RightNoun>(noun: N, key: string): Row<N> => {
    let ofNoun = rows.get(noun);
    if (ofNoun === undefined) rows.set(noun, (ofNoun = new Map()));
    if (!ofNoun.has(key)) ofNoun.set(key, readers[noun](key));
    return ofNoun.get(key) as Row<N>;
  };
  for (const rights of batch) wantRows(rights, want);
  return <N extends RightNoun>(noun: N, key: string) => {
    const ofNoun = rows.get(noun);
    if (ofNoun?.has(key) !== true)
      throw new PkiError('INTERNAL', `a right reads the ${noun} ${key} and does not name it`);
    return ofNoun.get(key) as Row<N>;
  };
}

/**
 * Reads an object of which a right uses a part. Undefined: there is none, and the log has none
 * either. `unproven`: the row, or its absence, differs from the log.
 */
type ProvenReader = <Kind extends LogObjectKind>(
  kind: Kind,
  id: string,
  read: () => LoggedValues[Kind] | undefined,
) => LoggedValues[Kind] | 'unproven' | undefined;

const provenReader =
  (guard: LogGuard, kept: KeptRows): ProvenReader =>
  (kind, id, read) => {
    let row: ReturnType<typeof read>;
    try {
      row = kept.row(`${kind} ${id}`, read);
    } catch (thrown) {
      // items of the batch that do not use this row continue
      if (!(thrown instanceof PkiError && thrown.code === 'STORE_CORRUPT')) throw thrown;
      guard.announce({ kind, id, found: 'differs' });
      return 'unproven';
    }
    return guard.sameRow(kind, id, row) ? row : 'unproven';
  };

const read = <Found, Read>(row: Found | undefined, as: (row: Found) => Read): Read | undefined =>
  row === undefined ? undefined : as(row);

/** Without a row the built-in policy is in force, unless the log has the first version. */
function policyReader(engine: Engine, proven: ProvenReader, kept: KeptRows): Readers['policy'] {
  const newest = newestIssuancePolicy(engine);
  const newestRow = () => ({ row: newest() });
  return () => {
    // the absence of a row is kept as well
    const { row } = kept.row('newest issuance-policy', newestRow) ?? newestRow();
    const id = String(row?.version ?? builtInPolicyVersion + 1);
    return proven('issuance-policy', id, () => row) ?? { version: builtInPolicyVersion };
  };
}

function authorityReader(engine: Engine, proven: ProvenReader): Readers['authority'] {
  const byId = engine.statement<{ id: string }>()((query, slot) =>
    query.selectFrom('authorities').selectAll().where('id', '=', slot('id')),
  );
  return (id) => proven('authority', id, () => read(byId.get({ id }), toAuthority));
}

function entryReader(engine: Engine, proven: ProvenReader): Readers['entry'] {
  const byId = engine.statement<{ id: string }>()((query, slot) =>
    query.selectFrom('entries').selectAll().where('id', '=', slot('id')),
  );
  return (id) => proven('entry', id, () => read(byId.get({ id }), toEntry));
}

function agentReaders(
  engine: Engine,
  proven: ProvenReader,
  lines: AgentLineRows,
): Pick<Readers, 'agent' | 'agent-line'> {
  const byId = engine.statement<{ spiffe_id: string }>()((query, slot) =>
    query.selectFrom('agents').selectAll().where('spiffe_id', '=', slot('spiffe_id')),
  );
  const agent = (spiffeId: string) =>
    proven('agent', spiffeId, () => read(byId.get({ spiffe_id: spiffeId }), toAgent));
  return {
    agent,
    'agent-line': (spiffeId) => {
      const line = proven('agent-line', spiffeId, () => lines.read(spiffeId));
      if (line !== undefined) return line === 'unproven' ? line : { line };
      // an older release recorded the agent
      const owner = agent(spiffeId);
      if (owner === undefined || owner === 'unproven') return owner;
      return { line: lineFrom({ spiffeId, serial: owner.serial }) };
    },
  };
}

function delegationReader(engine: Engine, proven: ProvenReader): Readers['delegation'] {
  const byId = engine.statement<{ id: string }>()((query, slot) =>
    query.selectFrom('delegations').selectAll().where('id', '=', slot('id')),
  );
  const toDelegation = createDelegationReader();
  return (id) => proven('delegation', id, () => read(byId.get({ id }), toDelegation));
}

function acmeReaders(
  engine: Engine,
  proven: ProvenReader,
): Pick<Readers, 'tenant' | 'eab-key' | 'acme-account' | 'acme-order'> {
  const tenant = tenantByName(engine);
  const eabKey = eabKeyById(engine);
  const account = acmeAccountById(engine);
  const order = acmeOrderById(engine);
  return {
    tenant: (name) => proven('tenant', name, () => tenant(name)),
    'eab-key': (id) => proven('eab-key', id, () => eabKey(id)),
    'acme-account': (id) => proven('acme-account', id, () => account(id)),
    'acme-order': (id) => proven('acme-order', id, () => order(id)),
  };
}

interface CertificateDependencies {
  readonly guard: LogGuard;
  readonly kept: KeptRows;
  readonly isBlocked: IsKeyBlocked;
}

function certificateReader(
  engine: Engine,
  { guard, kept, isBlocked }: CertificateDependencies,
): Readers['certificate'] {
  const bySerial = engine.statement<{ serial: Buffer }>()((query, slot) =>
    query
      .selectFrom('certificates')
      .select(['state', 'not_before', 'not_after', 'public_key_sha256'])
      .where('serial', '=', slot('serial')),
  );
  const revocation = engine.statement<{ serial: Buffer }>()((query, slot) =>
    query.selectFrom('revocations').select('revoked_at').where('serial', '=', slot('serial')),
  );
  const read = (text: string) => {
    const serial = fromHexOrUndefined(text);
    const row = serial === undefined ? undefined : bySerial.get({ serial });
    if (row === undefined || serial === undefined) return undefined;
    return {
      state: row.state,
      notBefore: row.not_before,
      notAfter: row.not_after,
      hasRevocation: revocation.get({ serial }) !== undefined,
      publicKeySha256: hex(row.public_key_sha256),
    };
  };
  // an issued certificate stays issued, while issuance itself changes others
  const readIssued = (text: string) => {
    const row = read(text);
    return row?.state === 'issued' ? row : undefined;
  };
  return (text) => {
    const row = kept.row(`certificate ${text}`, () => readIssued(text)) ?? read(text);
    // the caller was admitted by the log's record of its certificate
    if (row?.state !== 'issued')
      guard.announce({
        kind: 'certificate',
        id: text,
        found: row === undefined ? 'absent' : 'differs',
      });
    if (row === undefined) return undefined;
    const { state, notBefore, notAfter, hasRevocation, publicKeySha256 } = row;
    // Decided by the log, whatever the row says. A row that the log does not know yet may belong to
    // this very transaction. Whoever has a blocked key may have stolen it.
    const revoked =
      guard.revocation(text) !== undefined || hasRevocation || isBlocked(publicKeySha256);
    return { state, notBefore, notAfter, revoked };
  };
}
