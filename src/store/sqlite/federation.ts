import { PkiError } from '../../common/errors/index.ts';
import {
  deletedObject,
  loggedObject,
  type AuditEvent,
  type EndpointProfile,
  type FederationRelationship,
  type ForeignBundle,
  type ForeignJwtKey,
} from '../../domain/index.ts';
import type { FederationTable, ForeignBundleTable } from '../federation-schema.ts';
import type { FederationStore, LogGuard } from '../ports/index.ts';
import type { AuditWriter } from './audit.ts';
import { fromJson } from './codec.ts';
import type { Engine } from './engine.ts';
import type { Revisions } from './meta.ts';

interface FederationDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly revisions: Revisions;
}

export function createFederation(
  engine: Engine,
  dependencies: FederationDependencies,
): FederationStore {
  const statements = federationStatements(engine);
  const rows = vouchedRows(statements, dependencies.guard);
  return {
    relationships: () => engine.read(() => statements.relationships.all({}).map(toRelationship)),
    bundles: () => engine.read(() => statements.bundles.all({}).map(toBundle)),
    ...federationWrites(engine, { ...dependencies, statements, rows }),
  };
}

type Statements = ReturnType<typeof federationStatements>;

/** Rows as the log vouches for them. */
const vouchedRows = ({ relationship, bundle }: Statements, guard: LogGuard) => ({
  relationship: (trustDomain: string): FederationRelationship | undefined => {
    const row = relationship.get({ trust_domain: trustDomain });
    return guard.requireRow(
      'federation',
      trustDomain,
      row === undefined ? undefined : toRelationship(row),
    );
  },
  /** Altered: the row differs from the log. */
  bundle: (trustDomain: string): ForeignBundle | undefined | 'altered' => {
    const row = bundle.get({ trust_domain: trustDomain });
    const found = row === undefined ? undefined : toBundle(row);
    return guard.sameRow('foreign-bundle', trustDomain, found) ? found : 'altered';
  },
  /** Whether there is a row, or the log has one: what was altered can be taken away as well. */
  has: (kind: 'federation' | 'foreign-bundle', trustDomain: string): boolean => {
    const key = { trust_domain: trustDomain };
    const row = kind === 'federation' ? relationship.get(key) : bundle.get(key);
    return row !== undefined || !guard.sameRow(kind, trustDomain, undefined);
  },
});

function federationWrites(
  engine: Engine,
  {
    audit,
    revisions,
    statements,
    rows,
  }: FederationDependencies & {
    readonly statements: Statements;
    readonly rows: ReturnType<typeof vouchedRows>;
  },
): Pick<FederationStore, 'create' | 'accept' | 'delete'> {
  const putBundle = (bundle: ForeignBundle, event: AuditEvent): void => {
    statements.putBundle.run(toBundleRow(bundle));
    audit(event, loggedObject('foreign-bundle', bundle));
  };
  return {
    create: (created, bundle, { limit, event, accepted, signal }) =>
      engine.write(() => {
        const { trustDomain } = created;
        if (rows.relationship(trustDomain) !== undefined) throw alreadyThere(trustDomain);
        if (statements.relationships.all({}).length >= limit) throw tooMany(limit);
        revisions.advance();
        statements.insert.run(toRow(created));
        audit(event, loggedObject('federation', created));
        if (bundle !== undefined) putBundle(bundle, accepted);
      }, signal),
    accept: (bundle, held, event) =>
      engine.write(() => {
        const { trustDomain, relationshipId } = bundle;
        if (rows.relationship(trustDomain)?.id !== relationshipId)
          throw new PkiError('NOT_FOUND', `the relationship with ${trustDomain} is gone`);
        const present = rows.bundle(trustDomain);
        if (present !== 'altered') expectHeld(present, held, trustDomain);
        revisions.advance();
        putBundle(bundle, event);
      }),
    delete: (trustDomain, { event, withdrawn }) =>
      engine.write(() => {
        if (!rows.has('federation', trustDomain)) throw notThere(trustDomain);
        revisions.advance();
        statements.remove.run({ trust_domain: trustDomain });
        audit(event, deletedObject('federation', trustDomain));
        if (!rows.has('foreign-bundle', trustDomain)) return;
        statements.removeBundle.run({ trust_domain: trustDomain });
        audit(withdrawn, deletedObject('foreign-bundle', trustDomain));
      }),
  };
}

const alreadyThere = (trustDomain: string): PkiError =>
  new PkiError('ALREADY_EXISTS', `there is a relationship with the trust domain ${trustDomain}`, {
    next:
      `See it: "meshca federation show ${trustDomain}". To change it, delete it and create it ` +
      'again.',
  });

const tooMany = (limit: number): PkiError =>
  new PkiError('CONFLICT', `there are ${limit} relationships, and no more may be`, {
    next: 'Delete one that is needed no more; "meshca federation list" has them all.',
  });

const notThere = (trustDomain: string): PkiError =>
  new PkiError('NOT_FOUND', `there is no relationship with ${trustDomain}`, {
    next: 'List them: "meshca federation list".',
  });

function expectHeld(
  present: ForeignBundle | undefined,
  held: Parameters<FederationStore['accept']>[1],
  trustDomain: string,
): void {
  if (present?.sequence !== held?.sequence || present?.documentSha256 !== held?.documentSha256)
    throw new PkiError('CONFLICT', `the bundle of ${trustDomain} was replaced meanwhile`);
}

type Row<Table> = { [Column in keyof Table]: Table[Column] };

function federationStatements(engine: Engine) {
  return {
    relationships: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('federation').selectAll().orderBy('trust_domain'),
    ),
    bundles: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('foreign_bundles').selectAll().orderBy('trust_domain'),
    ),
    relationship: engine.statement<{ trust_domain: string }>()((query, slot) =>
      query.selectFrom('federation').selectAll().where('trust_domain', '=', slot('trust_domain')),
    ),
    bundle: engine.statement<{ trust_domain: string }>()((query, slot) =>
      query
        .selectFrom('foreign_bundles')
        .selectAll()
        .where('trust_domain', '=', slot('trust_domain')),
    ),
    insert: engine.statement<Row<FederationTable>>()((query, slot) =>
      query.insertInto('federation').values({
        trust_domain: slot('trust_domain'),
        id: slot('id'),
        endpoint_url: slot('endpoint_url'),
        endpoint_profile: slot('endpoint_profile'),
        endpoint_spiffe_id: slot('endpoint_spiffe_id'),
        web_roots: slot('web_roots'),
        created_at: slot('created_at'),
        created_by: slot('created_by'),
      }),
    ),
    putBundle: engine.statement<Row<ForeignBundleTable>>()((query, slot) => {
      const content = {
        relationship_id: slot('relationship_id'),
        sequence: slot('sequence'),
        refresh_hint_seconds: slot('refresh_hint_seconds'),
        roots: slot('roots'),
        jwt_keys: slot('jwt_keys'),
        document_sha256: slot('document_sha256'),
        received_at: slot('received_at'),
      };
      return query
        .insertInto('foreign_bundles')
        .values({ trust_domain: slot('trust_domain'), ...content })
        .onConflict((conflict) => conflict.column('trust_domain').doUpdateSet(content));
    }),
    remove: engine.statement<{ trust_domain: string }>()((query, slot) =>
      query.deleteFrom('federation').where('trust_domain', '=', slot('trust_domain')),
    ),
    removeBundle: engine.statement<{ trust_domain: string }>()((query, slot) =>
      query.deleteFrom('foreign_bundles').where('trust_domain', '=', slot('trust_domain')),
    ),
  };
}

const toRow = (relationship: FederationRelationship): FederationTable => ({
  trust_domain: relationship.trustDomain,
  id: relationship.id,
  endpoint_url: relationship.endpointUrl,
  endpoint_profile: relationship.endpointProfile,
  endpoint_spiffe_id: relationship.endpointSpiffeId,
  web_roots: JSON.stringify(relationship.webRoots),
  created_at: relationship.createdAt,
  created_by: relationship.createdBy,
});

const toRelationship = (row: FederationTable): FederationRelationship => ({
  trustDomain: row.trust_domain,
  id: row.id,
  endpointUrl: row.endpoint_url,
  endpointProfile: row.endpoint_profile as EndpointProfile,
  endpointSpiffeId: row.endpoint_spiffe_id,
  webRoots: fromJson<readonly string[]>('federation', row.web_roots),
  createdAt: row.created_at,
  createdBy: row.created_by,
});

const toBundleRow = (bundle: ForeignBundle): ForeignBundleTable => ({
  trust_domain: bundle.trustDomain,
  relationship_id: bundle.relationshipId,
  sequence: bundle.sequence,
  refresh_hint_seconds: bundle.refreshHintSeconds,
  roots: JSON.stringify(bundle.roots),
  jwt_keys: JSON.stringify(bundle.jwtKeys),
  document_sha256: bundle.documentSha256,
  received_at: bundle.receivedAt,
});

const toBundle = (row: ForeignBundleTable): ForeignBundle => ({
  trustDomain: row.trust_domain,
  relationshipId: row.relationship_id,
  sequence: row.sequence,
  refreshHintSeconds: row.refresh_hint_seconds,
  roots: fromJson<readonly string[]>('foreign_bundles', row.roots),
  jwtKeys: fromJson<readonly ForeignJwtKey[]>('foreign_bundles', row.jwt_keys),
  documentSha256: row.document_sha256,
  receivedAt: row.received_at,
});
