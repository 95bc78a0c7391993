import {
  allShares,
  decide,
  type Authority,
  type AuthorityKind,
  type ClockStanding,
  type Confirmation,
  type Decision,
  type DecisionInput,
  type RotationOperation,
  type RotationPolicy,
} from '../../src/domain/index.ts';

const day = 86_400;
const now = 1_800_000_000;
const far = now + 1_000 * day;

const policy: RotationPolicy = {
  longestLeafSeconds: day,
  longestJwtSeconds: 3_600,
  canaryLyingShare: 0.25,
  issuingLifeSeconds: 30 * day,
  marginSeconds: 3_600,
  retireMarginSeconds: 300,
  names: { longestLeafSeconds: 90 * day, issuingLifeSeconds: 365 * day },
  unseenSeconds: { root: 600, jwt: 900, 'names-root': 3 * day },
  prepareAtLifeFraction: 0.66,
  onDeadline: 'alert',
  imported: [],
  standby: ['issuing'],
  standbyAfterSeconds: 30,
};

/** Nobody has to confirm: what signed has ended, or there is no agent. */
const hollow: Confirmation = {
  proven: { needed: 0, confirmed: 0, laggards: [] },
  inferred: { needed: 0, confirmed: 0, until: 0, holders: [] },
  unprovable: { until: 0 },
};

/** Whose end lies near the instant of the start. */
export const endings = ['root', 'issuing', 'jwt', 'log', 'standby'] as const;
export type Ending = (typeof endings)[number];
/** Seconds from the end to the start. */
export const instants: readonly number[] = [
  ...[-400 * day, -31 * day, -30 * day, -2 * day, -day - 3_601, -day, -3_601, -3_600, -301],
  ...[-61, -60, -59, -2, -1, 0, 1, 2, 59, 60, 61, 301, 3_600, 3_601, day, 2 * day, 30 * day],
];
const standings: readonly ClockStanding[] = ['believed', 'jumped', 'behind-log', 'unproven'];

interface Case {
  readonly ending: Ending;
  readonly instant: number;
  readonly clock: ClockStanding;
  readonly tokenAway: boolean;
  readonly rootHere: boolean;
  readonly automatic: boolean;
  readonly dualControl: boolean;
  /** A successor that was published before; absent: nothing is under way. */
  readonly running: 'none' | 'schedule' | 'operator' | 'token';
}

function* cases(): Generator<Case> {
  const both = [false, true];
  for (const ending of endings)
    for (const instant of instants)
      for (const clock of standings)
        for (const tokenAway of both)
          for (const rootHere of both)
            for (const automatic of both)
              for (const dualControl of both)
                for (const running of ['none', 'schedule', 'operator', 'token'] as const)
                  yield {
                    ...{ ending, instant, clock, tokenAway, rootHere, automatic },
                    ...{ dualControl, running },
                  };
}

const authority = (
  id: string,
  kind: AuthorityKind,
  notAfter: number,
  over: Partial<Authority> = {},
): Authority => ({
  id,
  kind,
  state: 'active',
  version: 1,
  keyType: 'ec-p256',
  token: kind === 'root' ? 'root' : 'issuing',
  ckaId: id,
  parentId: kind === 'issuing' ? 'root' : null,
  scope: {},
  spkiDer: null,
  certificateDer: null,
  subjectKeyId: id,
  notBefore: notAfter - 60 * day,
  notAfter,
  createdAt: now - 60 * day,
  activatedAt: now - 60 * day,
  taintedAt: null,
  publishedAt: now - day,
  ...over,
});

/** What is below an authority ends with it at the latest. */
function authoritiesOf({ ending, instant, rootHere, running }: Case): readonly Authority[] {
  const endOf = (which: Ending): number => (which === ending ? now - instant : far);
  const rootEnd = endOf('root');
  const below = (end: number): number => Math.min(end, rootEnd);
  return [
    authority('root', 'root', rootEnd, rootHere ? {} : { token: 'external' }),
    authority('issuing', 'issuing', below(endOf('issuing'))),
    authority('jwt', 'jwt', endOf('jwt')),
    authority('log', 'log', endOf('log')),
    authority('standby', 'issuing', below(endOf('standby')), {
      token: 'standby',
      state: 'published',
    }),
    ...(running === 'none' || running === 'token'
      ? []
      : [authority('next', 'issuing', below(far), { state: 'published' })]),
  ];
}

function inputOf(at: Case): DecisionInput {
  const { running } = at;
  const successorId = running === 'token' ? 'standby' : 'next';
  const operation: RotationOperation = {
    id: 'operation',
    kind: 'issuing',
    state: 'running',
    version: 0,
    createdBy: 'a',
    createdAt: now - day,
    updatedAt: now - day,
    spec: {
      successorId,
      targets: ['issuing'],
      targetsBecome: 'old',
      parentId: null,
      shares: allShares,
      trigger: running === 'none' ? 'schedule' : running,
    },
  };
  return {
    authorities: authoritiesOf(at)
      .filter(({ kind }) => kind !== 'log')
      .map((each) => ({ authority: each, lastExpiry: 0, live: 0, liveUnreported: 0 })),
    confirmations: new Map([
      ['standby', hollow],
      ['next', hollow],
    ]),
    operations: running === 'none' ? [] : [operation],
    handshakes: new Map(),
    policy: at.automatic ? policy : { ...policy, prepareAtLifeFraction: undefined },
    now,
    clock: at.clock,
    dualControl: at.dualControl,
    ...(at.tokenAway ? { issuingTokenLostAt: now - 3_600 } : {}),
  };
}

/** What a start must not do, or must do, judged without the code that decides. */
function* breaches(at: Case, { actions, notes }: Decision): Generator<string> {
  const [root, issuing] = authoritiesOf(at) as [Authority, Authority];
  const [rootOver, issuingOver] = [root.notAfter <= now, issuing.notAfter <= now];
  if (at.clock !== 'believed') {
    if (actions.length > 0) yield `acts by a clock that is ${at.clock}: ${actions[0]?.type}`;
    if (!notes.some(({ code }) => code.startsWith('CLOCK_'))) yield 'does not tell of its clock';
  }
  const mayMake = !rootOver && at.rootHere && at.automatic && !at.dualControl;
  for (const action of actions) {
    if (action.type === 'open' && action.kind === 'root' && rootOver)
      yield 'makes a root by itself after its end';
    if (action.type === 'open' && action.kind === 'issuing' && action.trigger === 'schedule')
      if (issuingOver && !mayMake) yield 'makes an intermediate by itself where it may not';
    if (action.type !== 'activate') continue;
    if (action.without.kind === 'ended' && !(issuingOver && !rootOver && at.rootHere))
      yield 'activates without proof before the end, or below a root that is over or not here';
    if (issuingOver && action.authority.token === 'standby')
      yield 'a standby that nobody confirmed signs after the end';
    if (issuingOver && at.running === 'schedule' && at.dualControl)
      yield 'goes on by itself after the end, under dual control';
  }
  const made = actions.some((action) => action.type === 'open' && action.kind === 'issuing');
  if (issuingOver && mayMake && at.clock === 'believed' && at.running === 'none' && !made)
    yield 'does not make the next intermediate';
  for (const each of authoritiesOf(at))
    if (
      ['root', 'issuing', 'jwt'].includes(each.kind) &&
      each.state === 'active' &&
      each.token !== 'external' &&
      each.notAfter <= now !==
        notes.some(({ code, authorityId }) => code === 'ENDED' && authorityId === each.id)
    )
      yield `says wrongly whether the ${each.kind} authority has ended`;
}

/** The decision at a start, at each instant around the end of each authority. */
export function sweepStarts(): { readonly decisions: number; readonly broken: readonly string[] } {
  const broken: string[] = [];
  let decisions = 0;
  for (const at of cases()) {
    decisions += 1;
    for (const text of breaches(at, decide(inputOf(at))))
      broken.push(`${text} (${JSON.stringify(at)})`);
  }
  return { decisions, broken };
}
