import { ended, isOver, type RightKind } from './right-kind.ts';

/** The entry exists at this revision and has not expired. */
export interface EntryRight {
  readonly kind: 'entry';
  readonly id: string;
  readonly revision: number;
}

export const entry: RightKind<EntryRight> = {
  rows: ({ id }, want) => want('entry', id),
  ended({ id, revision }, read, now) {
    const row = read('entry', id);
    if (row === undefined) return ended('ENTRY_NOT_AUTHORIZED', `entry ${id} was deleted`);
    if (row.revision !== revision) return ended('ENTRY_CHANGED', `entry ${id} was changed`);
    return isOver(row.expiresAt, now)
      ? ended('ENTRY_NOT_AUTHORIZED', `entry ${id} has expired`)
      : undefined;
  },
};

/** The agent is active in this session (generation). */
export interface AgentRight {
  readonly kind: 'agent';
  readonly spiffeId: string;
  readonly generation: number;
}

export const agent: RightKind<AgentRight> = {
  rows: ({ spiffeId }, want) => want('agent', spiffeId),
  ended({ spiffeId, generation }, read) {
    const row = read('agent', spiffeId);
    if (row === undefined) return ended('AGENT_EVICTED', `there is no record of agent ${spiffeId}`);
    if (row.state === 'banned') return ended('AGENT_BANNED', `agent ${spiffeId} is banned`);
    if (row.state !== 'active') return ended('AGENT_EVICTED', `agent ${spiffeId} was evicted`);
    return row.generation === generation
      ? undefined
      : ended('AGENT_SUPERSEDED', `a newer session of agent ${spiffeId} took over`);
  },
};

/** The delegation is neither revoked nor expired. */
export interface DelegationRight {
  readonly kind: 'delegation';
  readonly id: string;
}

export const delegation: RightKind<DelegationRight> = {
  rows: ({ id }, want) => want('delegation', id),
  ended({ id }, read, now) {
    const row = read('delegation', id);
    if (row === undefined)
      return ended('OUTSIDE_DELEGATION', `there is no record of delegation ${id}`);
    if (row.revokedAt !== null) return ended('OUTSIDE_DELEGATION', `delegation ${id} was revoked`);
    return isOver(row.expiresAt, now)
      ? ended('OUTSIDE_DELEGATION', `delegation ${id} has expired`)
      : undefined;
  },
};

/** The caller's certificate is issued, not revoked, and valid now. */
export interface CallerRight {
  readonly kind: 'caller';
  readonly serial: string;
}

export const caller: RightKind<CallerRight> = {
  rows: ({ serial }, want) => want('certificate', serial),
  ended({ serial }, read, now) {
    const row = read('certificate', serial);
    if (row?.state !== 'issued')
      return ended(
        'CERTIFICATE_UNKNOWN',
        `the caller's certificate ${serial} is not recorded as issued`,
      );
    if (row.revoked)
      return ended('CERTIFICATE_REVOKED', `the caller's certificate ${serial} was revoked`);
    // Both ends are inclusive (RFC 5280 section 4.1.2.5).
    return row.notAfter < now || row.notBefore > now
      ? ended(
          'CERTIFICATE_EXPIRED',
          `the caller's certificate ${serial} has expired or is not valid yet`,
        )
      : undefined;
  },
};
