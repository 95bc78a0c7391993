import type { ErrorCode } from '../../common/errors/index.ts';
import { maySign, type AuthorityState, type Rights } from '../../domain/index.ts';
import type { LogGuard } from '../ports/index.ts';
import { fromHexOrUndefined } from './codec.ts';
import type { Engine } from './engine.ts';

export interface RightEnded {
  readonly code: ErrorCode;
  readonly message: string;
}

/**
 * Gives a check for one transaction: the items of a batch share authority, agent and caller, so
 * each row is read once. The check returns the first right that no longer stands at `now` (Unix
 * seconds), in the order of the type's fields.
 */
export type RightsCheck = (now: number) => (rights: Rights) => RightEnded | undefined;

export function createRightsCheck(engine: Engine, guard: LogGuard): RightsCheck {
  const authority = engine.statement<{ id: string }>()((query, slot) =>
    query.selectFrom('authorities').select('state').where('id', '=', slot('id')),
  );
  const entry = engine.statement<{ id: string }>()((query, slot) =>
    query.selectFrom('entries').select(['revision', 'expires_at']).where('id', '=', slot('id')),
  );
  const agent = engine.statement<{ spiffe_id: string }>()((query, slot) =>
    query
      .selectFrom('agents')
      .select(['state', 'generation'])
      .where('spiffe_id', '=', slot('spiffe_id')),
  );
  const delegation = engine.statement<{ id: string }>()((query, slot) =>
    query
      .selectFrom('delegations')
      .select(['revoked_at', 'expires_at'])
      .where('id', '=', slot('id')),
  );
  const certificate = engine.statement<{ serial: Buffer }>()((query, slot) =>
    query
      .selectFrom('certificates')
      .select(['state', 'not_before', 'not_after'])
      .where('serial', '=', slot('serial')),
  );

  const revocation = engine.statement<{ serial: Buffer }>()((query, slot) =>
    query.selectFrom('revocations').select('revoked_at').where('serial', '=', slot('serial')),
  );

  const ended = (code: ErrorCode, message: string): RightEnded => ({ code, message });

  const authorityEnded = (id: string): RightEnded | undefined => {
    const row = authority.get({ id });
    // one that has just become old finishes what it began: its record was there before, so that
    // retiring waits for it
    if (row !== undefined && (maySign(row.state as AuthorityState) || row.state === 'old'))
      return undefined;
    return ended(
      'AUTHORITY_TAINTED',
      `authority ${id} is ${row?.state ?? 'gone'} and signs no more`,
    );
  };

  const entryEnded = (
    { id, revision }: NonNullable<Rights['entry']>,
    now: number,
  ): RightEnded | undefined => {
    const row = entry.get({ id });
    if (row === undefined) return ended('ENTRY_NOT_AUTHORIZED', `entry ${id} was deleted`);
    if (row.revision !== revision) return ended('ENTRY_CHANGED', `entry ${id} was changed`);
    if (row.expires_at !== 0 && row.expires_at <= now)
      return ended('ENTRY_NOT_AUTHORIZED', `entry ${id} has expired`);
    return undefined;
  };

  const agentEnded = ({
    spiffeId,
    generation,
  }: NonNullable<Rights['agent']>): RightEnded | undefined => {
    const row = agent.get({ spiffe_id: spiffeId });
    if (row === undefined) return ended('AGENT_EVICTED', `agent ${spiffeId} is not on record`);
    if (row.state === 'banned') return ended('AGENT_BANNED', `agent ${spiffeId} is banned`);
    if (row.state !== 'active') return ended('AGENT_EVICTED', `agent ${spiffeId} was evicted`);
    if (row.generation !== generation)
      return ended('AGENT_SUPERSEDED', `a newer session of agent ${spiffeId} took over`);
    return undefined;
  };

  const delegationEnded = (id: string, now: number): RightEnded | undefined => {
    const row = delegation.get({ id });
    if (row === undefined) return ended('OUTSIDE_DELEGATION', `delegation ${id} is not on record`);
    if (row.revoked_at !== null) return ended('OUTSIDE_DELEGATION', `delegation ${id} was revoked`);
    if (row.expires_at !== 0 && row.expires_at <= now)
      return ended('OUTSIDE_DELEGATION', `delegation ${id} has expired`);
    return undefined;
  };

  const callerEnded = (serial: string, now: number): RightEnded | undefined => {
    const key = fromHexOrUndefined(serial);
    const row = key === undefined ? undefined : certificate.get({ serial: key });
    if (row?.state !== 'issued')
      return ended(
        'CERTIFICATE_UNKNOWN',
        `the caller's certificate ${serial} is not on record as issued`,
      );
    // by the log, whatever became of the row; a row that the log does not know yet is perhaps of
    // this very transaction
    if (
      guard.revocation(serial) !== undefined ||
      revocation.get({ serial: key as Buffer }) !== undefined
    )
      return ended('CERTIFICATE_REVOKED', `the caller's certificate ${serial} was revoked`);
    // Both ends are inclusive (RFC 5280 section 4.1.2.5).
    if (row.not_after < now || row.not_before > now)
      return ended('CERTIFICATE_EXPIRED', `the caller's certificate ${serial} is outside its life`);
    return undefined;
  };

  return (now) => {
    const known = new Map<string, RightEnded | undefined>();
    const once = (key: string, check: () => RightEnded | undefined): RightEnded | undefined => {
      if (known.has(key)) return known.get(key);
      const found = check();
      known.set(key, found);
      return found;
    };
    return ({ authorityId, entry: entryRight, agent: agentRight, delegationId, callerSerial }) =>
      once(`authority ${authorityId}`, () => authorityEnded(authorityId)) ??
      (entryRight === undefined
        ? undefined
        : once(`entry ${entryRight.revision} ${entryRight.id}`, () =>
            entryEnded(entryRight, now),
          )) ??
      (agentRight === undefined
        ? undefined
        : once(`agent ${agentRight.generation} ${agentRight.spiffeId}`, () =>
            agentEnded(agentRight),
          )) ??
      (delegationId === undefined
        ? undefined
        : once(`delegation ${delegationId}`, () => delegationEnded(delegationId, now))) ??
      (callerSerial === undefined
        ? undefined
        : once(`caller ${callerSerial}`, () => callerEnded(callerSerial, now)));
  };
}
