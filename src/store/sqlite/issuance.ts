import { sql } from 'kysely';
import type { Clock } from '../../common/runtime/index.ts';
import type { CertificateKind, CertificateRecord, Intent, RightEnded } from '../../domain/index.ts';
import type { FinishItem, FinishOutcome, IssuanceStore } from '../ports/index.ts';
import type { CertificateTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import { createNameWriter, type NameWriter } from './certificate-names.ts';
import { certificateColumns, toCertificate, type CountStates } from './certificates.ts';
import { fromHex, fromHexOrUndefined, hex } from './codec.ts';
import type { Engine } from './engine.ts';
import { abandonedEvent, withheldEvent } from './intent-events.ts';
import type { JwtWriter } from './jwt-svids.ts';
import { OpenIntents, type OpenIntent } from './open-intents.ts';
import { requestKey } from './request-key.ts';
import type { RightsCheck } from './rights.ts';

type IntentRow = Omit<
  CertificateTable,
  | 'sequence'
  | 'state'
  | 'state_reason'
  | 'sha256'
  | 'replaced_by'
  | 'replacement_confirmed_at'
  | 'certificate_der'
>;
type Signed = Extract<FinishItem, { kind: 'signed' }>;
type RequestKey = Parameters<IssuanceStore['findRequests']>[0][number];

export interface IssuanceDependencies {
  readonly clock: Clock;
  readonly audit: AuditWriter;
  readonly checkRights: RightsCheck;
  readonly countStates: CountStates;
  readonly jwt: JwtWriter;
}

type IssuanceStatements = {
  readonly writeNames: NameWriter;
  readonly openIntents: OpenIntents;
} & ReturnType<typeof issuanceReads> &
  ReturnType<typeof intentWrites> &
  ReturnType<typeof replacementWrites>;

export function createIssuance(engine: Engine, dependencies: IssuanceDependencies): IssuanceStore {
  const { jwt } = dependencies;
  const rows = new IssuanceRows(
    {
      ...issuanceReads(engine),
      ...intentWrites(engine),
      ...replacementWrites(engine),
      writeNames: createNameWriter(engine),
      openIntents: new OpenIntents(engine),
    },
    dependencies,
  );
  const { confirm, gone } = rows.statements;
  return {
    recordIntents: (intents) => engine.writeIssuance(() => rows.recordIntents(intents)),
    finish: (items) => engine.writeIssuance(() => rows.finish(items)),
    findRequest: (requester, requestId, publicKeySha256) =>
      engine.read(() => findRequest(rows.statements, { requester, requestId, publicKeySha256 })),
    // A certificate that is found is handed out, so that it must be durable. An empty result hands
    // out nothing.
    findRequests: async (keys) => {
      const { pending } = engine;
      const records = await engine.look(() => keys.map((key) => findRequest(rows.statements, key)));
      if (pending !== undefined && records.some((record) => record !== undefined)) await pending;
      return records;
    },
    abandonIntents: (reason, nowMs) => engine.write(() => rows.abandonIntents(reason, nowMs)),
    confirmReplaced: (holder, serials, now) =>
      engine.write(() => {
        for (const text of serials) {
          const serial = fromHexOrUndefined(text);
          if (serial !== undefined) confirm.run({ serial, holder, now });
        }
      }),
    confirmGone: (holder, kind, except, now) =>
      engine.write(() => {
        gone.run({ holder, kind, except: fromHex(except, 'the serial'), now });
      }),
    // The highest expiry of an authority is no part of the row on which rights rest.
    recordJwtSvids: (items) => engine.writeIssuance(() => recordJwtSvids(items, dependencies)),
    raiseJwtExpiry: async (authorityId, expiresAt) => {
      // Between transactions, everything that is read is durable.
      if ((await engine.read(() => jwt.highestExpiry(authorityId))) >= expiresAt) return;
      await engine.writeIssuance(() => jwt.raiseExpiry(authorityId, expiresAt));
    },
  };
}

/** Changes of intents, inside the caller's transaction. */
class IssuanceRows {
  readonly statements: IssuanceStatements;
  readonly #dependencies: IssuanceDependencies;

  constructor(statements: IssuanceStatements, dependencies: IssuanceDependencies) {
    this.statements = statements;
    this.#dependencies = dependencies;
  }

  recordIntents(intents: readonly Intent[]): void {
    const { insert, writeNames, openIntents } = this.statements;
    for (const intent of intents) {
      const row = toIntentRow(intent);
      insert.run(row);
      writeNames(intent.names, row.serial);
      openIntents.add(intent.serial, { replaces: row.replaces, holder: row.holder });
    }
  }

  finish(items: readonly FinishItem[]): readonly FinishOutcome[] {
    const { checkRights, clock, countStates } = this.#dependencies;
    const ended = checkRights(
      items.map((item) => (item.kind === 'signed' ? item.rights : [])),
      clock.now(),
    );
    const changes = { issued: 0, withheld: 0, refused: 0, abandoned: 0 };
    const outcomes = items.map((item, index) => {
      const outcome = this.#finishOne(item, ended[index]);
      if (outcome.state !== 'withheld' || outcome.code !== 'CONFLICT') changes[outcome.state] += 1;
      return outcome;
    });
    countStates(changes);
    return outcomes;
  }

  abandonIntents(reason: string, nowMs: number): readonly CertificateRecord[] {
    const { audit, countStates } = this.#dependencies;
    const rows = this.statements.unfinished.all({});
    for (const row of rows) {
      this.statements.abandon.run({ serial: row.serial, state_reason: reason });
      audit(abandonedEvent(toCertificate(row), reason, nowMs));
    }
    countStates({ abandoned: rows.length });
    return rows.map((row) => toCertificate({ ...row, state: 'abandoned', state_reason: reason }));
  }

  #finishOne(item: FinishItem, rightEnded: RightEnded | undefined): FinishOutcome {
    const { abandon, end, openIntents } = this.statements;
    const serial = fromHexOrUndefined(item.serial);
    if (serial === undefined) return this.#conflict(item, undefined);
    const open = openIntents.take(item.serial, serial);
    if (open === undefined) return this.#conflict(item, serial);
    if (item.kind === 'signed') return this.#finishSigned(item, { serial, ...open }, rightEnded);
    const changed =
      item.kind === 'abandoned'
        ? abandon.run({ serial, state_reason: item.reason })
        : end.run({
            serial,
            state: 'refused',
            state_reason: item.code,
            sha256: null,
            certificate_der: null,
          });
    if (changed !== 1) return this.#conflict(item, serial);
    this.#dependencies.audit(item.event);
    return { state: item.kind };
  }

  #finishSigned(
    item: Signed,
    { serial, replaces, holder }: OpenIntent & { readonly serial: Buffer },
    rightEnded: RightEnded | undefined,
  ): FinishOutcome {
    const { end, markReplaced } = this.statements;
    const { audit } = this.#dependencies;
    const changed = end.run({
      serial,
      state: rightEnded === undefined ? 'issued' : 'withheld',
      state_reason: rightEnded?.code ?? null,
      sha256: fromHex(item.sha256, 'the digest of the certificate'),
      certificate_der: item.certificateDer,
    });
    if (changed !== 1) return this.#conflict(item, serial);
    if (rightEnded !== undefined) {
      audit(withheldEvent(item.event, rightEnded.code, rightEnded.message));
      return { state: 'withheld', ...rightEnded };
    }
    if (replaces !== null) markReplaced.run({ serial: replaces, holder, replaced_by: serial });
    audit(item.event);
    return { state: 'issued' };
  }

  #conflict(item: FinishItem, serial: Buffer | undefined): FinishOutcome {
    const state = serial === undefined ? undefined : this.statements.stateOf.get({ serial })?.state;
    const message = `certificate ${item.serial} is ${state === undefined ? 'not on record' : state} and not an intent`;
    this.#dependencies.audit(withheldEvent(item.event, 'CONFLICT', message));
    return { state: 'withheld', code: 'CONFLICT', message };
  }
}

function findRequest(
  { byRequest }: IssuanceStatements,
  { requester, requestId, publicKeySha256 }: RequestKey,
): CertificateRecord | undefined {
  const key = requestKey(requester, requestId, publicKeySha256);
  const row = key === null ? undefined : byRequest.get({ request_key: key });
  if (
    row === undefined ||
    row.requester !== requester ||
    row.request_id !== requestId ||
    hex(row.public_key_sha256) !== publicKeySha256
  )
    return undefined;
  return toCertificate(row);
}

function recordJwtSvids(
  items: Parameters<IssuanceStore['recordJwtSvids']>[0],
  { audit, checkRights, clock, jwt }: IssuanceDependencies,
): readonly FinishOutcome[] {
  const rightsEnded = checkRights(
    items.map(({ rights }) => rights),
    clock.now(),
  );
  return items.map((item, index): FinishOutcome => {
    const ended = rightsEnded[index];
    if (ended !== undefined) {
      audit(withheldEvent(item.event, ended.code, ended.message));
      return { state: 'withheld', ...ended };
    }
    jwt.insert(item);
    audit(item.event);
    return { state: 'issued' };
  });
}

function issuanceReads(engine: Engine) {
  return {
    stateOf: engine.statement<{ serial: Buffer }>()((query, slot) =>
      query.selectFrom('certificates').select('state').where('serial', '=', slot('serial')),
    ),
    byRequest: engine.statement<{ request_key: Buffer }>()((query, slot) =>
      query
        .selectFrom('certificates')
        .select(certificateColumns)
        .where('request_key', '=', slot('request_key'))
        .where(sql<boolean>`state = 'issued'`)
        .orderBy('sequence', 'desc')
        .limit(1),
    ),
    unfinished: engine.statement<Record<never, never>>()((query) =>
      query
        .selectFrom('certificates')
        .select(certificateColumns)
        .where(sql<boolean>`state = 'intent'`)
        .where(sql<boolean>`state <> 'issued'`)
        .orderBy('sequence'),
    ),
  };
}

function intentWrites(engine: Engine) {
  return {
    insert: engine.statement<{ [Column in keyof IntentRow]: IntentRow[Column] }>()((query, slot) =>
      query.insertInto('certificates').values({
        serial: slot('serial'),
        spiffe_id: slot('spiffe_id'),
        kind: slot('kind'),
        profile: slot('profile'),
        state: 'intent',
        entry_id: slot('entry_id'),
        delegation_id: slot('delegation_id'),
        requester: slot('requester'),
        holder: slot('holder'),
        public_key_sha256: slot('public_key_sha256'),
        request_id: slot('request_id'),
        request_key: slot('request_key'),
        authority_id: slot('authority_id'),
        created_at_ms: slot('created_at_ms'),
        not_before: slot('not_before'),
        not_after: slot('not_after'),
        replaces: slot('replaces'),
        tbs_der: slot('tbs_der'),
        shard: slot('shard'),
        tenant: slot('tenant'),
      } as never),
    ),
    // One statement finds the row, checks its state and ends it.
    end: engine.statement<{
      serial: Buffer;
      state: 'issued' | 'withheld' | 'refused';
      state_reason: string | null;
      sha256: Buffer | null;
      certificate_der: Buffer | null;
    }>()((query, slot) =>
      query
        .updateTable('certificates')
        .set({
          state: slot('state'),
          state_reason: slot('state_reason'),
          sha256: slot('sha256'),
          certificate_der: slot('certificate_der'),
          tbs_der: null,
        })
        .where('serial', '=', slot('serial'))
        .where('state', '=', 'intent'),
    ),
    abandon: engine.statement<{ serial: Uint8Array; state_reason: string }>()((query, slot) =>
      query
        .updateTable('certificates')
        .set({ state: 'abandoned', state_reason: slot('state_reason') })
        .where('serial', '=', slot('serial'))
        .where('state', '=', 'intent'),
    ),
  };
}

function replacementWrites(engine: Engine) {
  return {
    // Only for the same holder: nobody can mark the certificate of another holder as replaced.
    markReplaced: engine.statement<{
      serial: Uint8Array;
      holder: string;
      replaced_by: Buffer;
    }>()((query, slot) =>
      query
        .updateTable('certificates')
        .set({ replaced_by: slot('replaced_by') })
        .where('serial', '=', slot('serial'))
        .where('holder', '=', slot('holder'))
        .where('state', '=', 'issued'),
    ),
    confirm: engine.statement<{ serial: Buffer; holder: string; now: number }>()((query, slot) =>
      query
        .updateTable('certificates')
        .set({ replacement_confirmed_at: slot('now') })
        .where('serial', '=', slot('serial'))
        .where('holder', '=', slot('holder'))
        .where('state', '=', 'issued')
        .where('replaced_by', 'is not', null)
        .where('replacement_confirmed_at', 'is', null),
    ),
    gone: engine.statement<{
      holder: string;
      kind: CertificateKind;
      except: Buffer;
      now: number;
    }>()((query, slot) =>
      query
        .updateTable('certificates')
        .set({ replacement_confirmed_at: slot('now') })
        .where('holder', '=', slot('holder'))
        .where('kind', '=', slot('kind'))
        .where('serial', '<>', slot('except'))
        .where('state', 'in', ['issued', 'abandoned'])
        .where('not_after', '>=', slot('now'))
        .where('replacement_confirmed_at', 'is', null),
    ),
  };
}

function toIntentRow(intent: Intent): IntentRow {
  return {
    serial: fromHex(intent.serial, 'the serial'),
    spiffe_id: intent.spiffeId,
    kind: intent.kind,
    profile: intent.profile,
    entry_id: intent.entryId,
    delegation_id: intent.delegationId,
    requester: intent.requester,
    holder: intent.holder,
    public_key_sha256: fromHex(intent.publicKeySha256, 'the digest of the public key'),
    request_id: intent.requestId,
    request_key: requestKey(intent.requester, intent.requestId, intent.publicKeySha256),
    authority_id: intent.authorityId,
    created_at_ms: intent.createdAtMs,
    not_before: intent.notBefore,
    not_after: intent.notAfter,
    replaces:
      intent.replaces === null ? null : fromHex(intent.replaces, 'the serial that is replaced'),
    tbs_der: intent.tbsDer,
    shard: intent.shard,
    tenant: intent.tenant,
  };
}
