/**
 * The kinds of audit records. A test holds this list against the sources. Kinds of another release
 * may be in a log as well.
 */

/** What happens by itself, all the time, or by the thousand. */
export const routineKinds = [
  'agent.attested',
  'agent.recovered',
  'agent.renewed',
  'bundle.published',
  'certificate.abandoned',
  'certificate.issued',
  'certificate.refused',
  'crl.signed',
  'inventory.pruned',
  'jwt.issued',
  'request.refused',
  'requests.refused',
  'token.bound',
  'token.used',
] as const;

/** Administrative acts, and steps of what they began. */
export const actKinds = [
  'agent.banned',
  'agent.evicted',
  'approval-policy.changed',
  'approval.decided',
  'approval.executed',
  'approval.failed',
  'approval.given',
  'approval.interrupted',
  'approval.proposed',
  'approval.withdrawn',
  'authority.active',
  'authority.certified',
  'authority.cross',
  'authority.discarded',
  'authority.downstream',
  'authority.imported',
  'authority.old',
  'authority.prepare',
  'authority.prepared',
  'authority.published',
  'authority.retired',
  'authority.revoked',
  'authority.scope',
  'authority.tainted',
  'authority.withdrawn',
  'certificate.revoked',
  'clock.accepted',
  'crl.imported',
  'database.backed-up',
  'database.restored',
  'delegation.created',
  'delegation.revoked',
  'entry.created',
  'entry.deleted',
  'entry.updated',
  'role.deleted',
  'role.put',
  'rotation.cancelled',
  'rotation.continued',
  'rotation.done',
  'rotation.opened',
  'rotation.taints',
  'token.created',
  'token.revoked',
] as const;

export const recordKinds: readonly string[] = [...routineKinds, ...actKinds].toSorted();
