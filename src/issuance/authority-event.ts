import type { Clock } from '../common/runtime/index.ts';
import type { AuditEvent, Authority } from '../domain/index.ts';

/** The audit record of an act on an authority. */
export const authorityEvent = (
  { clock }: { readonly clock: Clock },
  act: {
    readonly actor: string;
    /** `authority.verb`. */
    readonly kind: string;
    readonly authority: Pick<Authority, 'id' | 'kind'>;
  },
  detail: AuditEvent['detail'],
): AuditEvent => ({
  timeMs: clock.nowMs(),
  actor: act.actor,
  kind: act.kind,
  subject: act.authority.id,
  detail: { authorityKind: act.authority.kind, ...detail },
});
