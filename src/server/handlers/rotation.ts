import type { ServerWritableStream } from '@grpc/grpc-js';
import type { AuthoritiesHandlers } from '../../common/wire/generated/meshca/admin/v1/Authorities.ts';
import type { GetRotationStatusRequest__Output } from '../../common/wire/generated/meshca/admin/v1/GetRotationStatusRequest.ts';
import type { RotationStatus } from '../../common/wire/generated/meshca/admin/v1/RotationStatus.ts';
import type { RotationState } from '../../issuance/rotation/controller.ts';
import type { Rotation, Services } from '../../services/contract.ts';
import {
  canaryOf,
  compromisePlan,
  kindOf,
  placeOf,
  rotationStatus,
  stopOf,
} from '../convert/rotation.ts';
import type { Guard } from '../guard.ts';
import { serverStream } from './server-stream.ts';
import { operatorOf, unary } from './unary.ts';

type RotationMethods = Pick<
  AuthoritiesHandlers,
  | 'RotateAuthorities'
  | 'ContinueRotation'
  | 'WithdrawAuthority'
  | 'TaintAuthority'
  | 'RevokeAuthority'
  | 'PlanCompromise'
  | 'CompromiseAuthority'
  | 'AcceptClock'
  | 'GetRotationStatus'
  | 'WatchRotation'
  | 'GetActivationEvidence'
>;

export function rotationHandlers(
  guard: Guard,
  { rotation, crls }: Pick<Services, 'rotation' | 'crls'>,
): RotationMethods {
  const shown = (state: RotationState): RotationStatus => rotationStatus(state, crls);
  return {
    RotateAuthorities: unary(guard, async (context, request) =>
      shown(
        await rotation.rotate(operatorOf(context), {
          kind: kindOf(request.kind),
          reason: request.reason,
          force: request.force,
          ...stopOf(request.stopAfter),
          ...(request.shares === null ? {} : { shares: request.shares }),
          ...canaryOf(request),
          ...placeOf(request),
        }),
      ),
    ),
    ContinueRotation: unary(guard, async (context, request) =>
      shown(
        await rotation.proceed(operatorOf(context), {
          ...(request.id === '' ? { kind: kindOf(request.kind) } : { id: request.id }),
          reason: request.reason,
          force: request.force,
          ...stopOf(request.stopAfter),
          ...(request.shares === null ? {} : { shares: request.shares }),
        }),
      ),
    ),
    WithdrawAuthority: unary(guard, async (context, { id, reason }) =>
      shown(await rotation.withdraw(operatorOf(context), id, reason)),
    ),
    TaintAuthority: unary(guard, async (context, { id, windowSeconds, reason, force }) =>
      shown(await rotation.taint(operatorOf(context), { id, windowSeconds, reason, force })),
    ),
    RevokeAuthority: unary(guard, async (context, { id, reason, force }) =>
      shown(await rotation.revoke(operatorOf(context), { id, reason, force })),
    ),
    PlanCompromise: unary(guard, async (context, { id }) =>
      compromisePlan(await rotation.planCompromise(operatorOf(context), id), crls),
    ),
    CompromiseAuthority: unary(guard, async (context, { id, windowSeconds, reason, force }) =>
      compromisePlan(
        await rotation.compromise(operatorOf(context), { id, windowSeconds, reason, force }),
        crls,
      ),
    ),
    AcceptClock: unary(guard, async (context, { reason }) =>
      shown(await rotation.acceptClock(operatorOf(context), reason)),
    ),
    GetRotationStatus: unary(guard, async (context) =>
      shown(await rotation.status(operatorOf(context))),
    ),
    WatchRotation: (call) => watch(guard, rotation, shown, call),
    GetActivationEvidence: (call) =>
      serverStream(
        guard,
        call,
        async () => rotation.evidence(operatorOf(guard.contextOf(call)), call.request.id),
        (each) => {
          if (each.part === 'lines') return { lines: each.lines };
          const { sha256, statement, sequence } = each;
          return { statement: { sha256, statement, sequence } };
        },
      ),
  };
}

/** Full state each time; while the reader is behind, only the newest is kept. */
function watch(
  guard: Guard,
  rotation: Rotation,
  shown: (state: RotationState) => RotationStatus,
  call: ServerWritableStream<GetRotationStatusRequest__Output, RotationStatus>,
): void {
  let over = false;
  let blocked = false;
  let behind: RotationStatus | undefined;
  let sent = '';
  let stop: (() => void) | undefined;
  const end = (): void => {
    over = true;
    stop?.();
  };
  const send = (status: RotationStatus): void => {
    if (over) return;
    // what differs only in its time is no news
    const text = JSON.stringify({ ...status, at: 0 });
    if (text === sent) return;
    if (blocked) {
      behind = status;
      return;
    }
    sent = text;
    blocked = !call.write(status);
  };
  call.on('drain', () => {
    blocked = false;
    const next = behind;
    behind = undefined;
    if (next !== undefined) send(next);
  });
  for (const name of ['cancelled', 'close', 'error'] as const) call.on(name, end);
  rotation
    .watch(operatorOf(guard.contextOf(call)), (state) => send(shown(state)))
    .then(
      (unsubscribe) => {
        stop = unsubscribe;
        if (over) stop();
      },
      (thrown: unknown) => {
        end();
        guard.failStream(call, thrown);
      },
    );
}
