import { sql } from 'kysely';
import type { Page, PageRequest, RotationStore, UnreplacedRow } from '../ports/index.ts';
import type { Engine } from './engine.ts';
import { numberKey, pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

/** Agents report replacements and what they hold. */
const isAgent = sql<boolean>`holder IN (SELECT spiffe_id FROM agents)`;
/**
 * What other holders have: leaves, and certificates of downstream CAs, whose leaves are not known
 * here. Without our own authorities, which have their own rules, and without revoked ones: a
 * consumer that still trusts a revoked certificate must not delay a retirement.
 */
const ofOthers = sql<boolean>`(certificates.kind <> 'authority' OR (certificates.holder <> 'server' AND (certificates.certificate_der IS NULL OR NOT EXISTS (SELECT 1 FROM authorities WHERE authorities.certificate_der = certificates.certificate_der)) AND NOT EXISTS (SELECT 1 FROM revocations WHERE revocations.serial = certificates.serial)))`;
const mayBeOut = () =>
  builder
    .selectFrom('certificates')
    .where('state', 'in', ['issued', 'abandoned', 'intent'])
    .where(ofOthers);
/** Without certificates for names, which are no credentials of the mesh. */
const inMesh = () => mayBeOut().where('certificates.kind', '<>', 'endpoint');
const leavesOut = () => inMesh().where('kind', '<>', 'authority');

/** The server itself knows its roots, see serverHolder. */
const isForOthers = sql<boolean>`(holder <> 'server' AND holder NOT GLOB 'server:*')`;

/**
 * Certificates whose holder has the roots of the instant `since`. One of the very second of a
 * publication may have been issued without it. Holders that keep their roots (see keepsItsRoots)
 * have those of their first certificate, holders that renew them (see renewsItsRoots) those of their
 * latest.
 */
const withRootsOf = (since: number) => {
  const at = (since + 1) * 1000;
  return sql<boolean>`((created_at_ms <= ${at} AND NOT (holder GLOB 'pod:*' AND EXISTS (SELECT 1 FROM certificates AS later WHERE later.holder = certificates.holder AND later.created_at_ms > ${at} AND later.state = 'issued'))) OR (holder GLOB 'linkerd:*' AND EXISTS (SELECT 1 FROM certificates AS earlier WHERE earlier.holder = certificates.holder AND earlier.created_at_ms <= ${at} AND earlier.state IN ('issued', 'abandoned', 'intent'))))`;
};

/** Only so many holders are named; all are counted. */
const maximumNamed = 200;

type Lives = Pick<
  RotationStore,
  'signedBy' | 'lastNotAfterByHolder' | 'unheld' | 'reliedExpiry' | 'unreplaced'
>;

/** Which certificates are out, by the rows of the inventory. */
export function createLives(engine: Engine): Lives {
  return {
    signedBy: (now, marginSeconds) => engine.read(() => signedBy(engine, now, marginSeconds)),
    lastNotAfterByHolder: (now) => engine.read(() => lastNotAfterByHolder(engine, now)),
    unheld: (since, now, named = []) =>
      engine.read(() => {
        const outstanding = inMesh()
          .where(isForOthers)
          .where('not_after', '>=', now)
          .where('holder', 'not in', [...named])
          .where(sql<boolean>`NOT ${isAgent}`);
        const total =
          engine.rows(outstanding.select((eb) => eb.fn.countAll<number>().as('count')))[0]?.count ??
          0;
        const waiting = outstanding.where(withRootsOf(since));
        const before = engine.rows(
          waiting.select((eb) => [
            eb.fn.countAll<number>().as('count'),
            eb.fn.max<number | null>('not_after').as('last'),
          ]),
        )[0];
        const holders = engine.rows(
          waiting
            .select((eb) => ['holder', eb.fn.max<number>('not_after').as('until')])
            .groupBy('holder')
            .orderBy('until', 'desc')
            .orderBy('holder')
            .limit(maximumNamed),
        );
        return { total, waiting: before?.count ?? 0, until: before?.last ?? 0, holders };
      }),
    unreplaced: (authorityId, since, page) =>
      engine.read(() => unreplaced(engine, { authorityId, since, page })),
    reliedExpiry: (since, now) =>
      engine.read(
        () =>
          engine.rows(
            inMesh()
              .where(isForOthers)
              .where('not_after', '>=', since)
              .where('not_after', '<', now)
              .where(withRootsOf(since))
              .where(sql<boolean>`NOT ${isAgent}`)
              .select((eb) => eb.fn.max<number | null>('not_after').as('last')),
          )[0]?.last ?? 0,
      ),
  };
}

const lastNotAfterByHolder = (engine: Engine, now: number): ReadonlyMap<string, number> =>
  new Map(
    engine
      .rows(
        leavesOut()
          .select((eb) => ['holder', eb.fn.max<number>('not_after').as('last')])
          .where('not_after', '>=', now)
          .groupBy('holder'),
      )
      .map(({ holder, last }) => [holder, last] as const),
  );

/** A page in the order of the index over authority and end. */
function unreplaced(
  engine: Engine,
  of: { readonly authorityId: string; readonly since: number; readonly page: PageRequest },
): Page<UnreplacedRow> {
  const size = pageSize(of.page);
  const [end, sequence] = numberKey(of.page.after, 2) ?? [of.since, -1];
  const rows = engine.rows(
    builder
      .selectFrom('certificates')
      .select(['sequence', 'spiffe_id', 'entry_id', 'delegation_id', 'requester', 'not_after'])
      .where('authority_id', '=', of.authorityId)
      .where(sql<boolean>`(not_after, sequence) > (${end}, ${sequence})`)
      .where('state', 'in', ['issued', 'abandoned'])
      .where('replacement_confirmed_at', 'is', null)
      .where(ofOthers)
      .orderBy('not_after')
      .orderBy('sequence')
      .limit(size + 1),
  );
  return toPage(
    rows,
    size,
    (row) => ({
      entryId: row.entry_id,
      delegationId: row.delegation_id,
      requester: row.requester,
      subject: row.spiffe_id,
      notAfter: row.not_after,
    }),
    (row) => `${row.not_after}.${row.sequence}`,
  );
}

function signedBy(
  engine: Engine,
  now: number,
  marginSeconds: number,
): Awaited<ReturnType<RotationStore['signedBy']>> {
  const livesByAuthority = new Map<
    string,
    { lastExpiry: number; live: number; liveUnreported: number }
  >();
  const expiries = mayBeOut()
    .select((eb) => ['authority_id', eb.fn.max<number>('not_after').as('last')])
    .where('not_after', '>=', now - marginSeconds)
    .groupBy('authority_id');
  for (const { authority_id: id, last } of engine.rows(expiries))
    livesByAuthority.set(id, { lastExpiry: last, live: 0, liveUnreported: 0 });
  const live = builder
    .selectFrom('certificates')
    .select((eb) => [
      'authority_id',
      eb.fn.countAll<number>().as('live'),
      sql<number>`sum(certificates.kind = 'authority' OR NOT ${isAgent})`.as('unreported'),
    ])
    .where('state', 'in', ['issued', 'abandoned'])
    .where(ofOthers)
    .where('not_after', '>=', now - marginSeconds)
    .where('replacement_confirmed_at', 'is', null)
    .groupBy('authority_id');
  for (const row of engine.rows(live)) {
    const facts = livesByAuthority.get(row.authority_id);
    if (facts !== undefined)
      Object.assign(facts, { live: row.live, liveUnreported: row.unreported });
  }
  for (const row of engine.rows(
    builder
      .selectFrom('authorities')
      .select(['id', 'highest_jwt_expiry'])
      .where('kind', '=', 'jwt'),
  )) {
    livesByAuthority.set(row.id, {
      lastExpiry: row.highest_jwt_expiry,
      live: 0,
      liveUnreported: 0,
    });
  }
  return livesByAuthority;
}
