import type { FederationRelationship, ForeignBundle, Proven } from '../domain/index.ts';
import type { FederationStore } from '../store/ports/index.ts';
import { comparedRows } from './compared-rows.ts';
import type { Objects } from './objects.ts';

/** A relationship, and the bundle that was accepted for it. */
export interface ProvenFederation {
  readonly relationship: Proven<FederationRelationship>;
  readonly bundle: Proven<ForeignBundle> | undefined;
}

export interface LedgerFederation extends Pick<FederationStore, 'create' | 'accept' | 'delete'> {
  /**
   * Every relationship that the log vouches for, with its bundle where the log vouches for that too.
   * A row that was altered, added or taken away past the log is announced, and counts for nothing.
   */
  all(): Promise<readonly ProvenFederation[]>;
  /** Grows with each record of a relationship or a foreign bundle. */
  newest(): number;
}

export const ledgerFederation = (
  rows: FederationStore,
  objects: Pick<Objects, 'prove' | 'newest' | 'announceMissing'>,
): LedgerFederation => ({
  create: (relationship, bundle, options) => rows.create(relationship, bundle, options),
  accept: (bundle, held, event) => rows.accept(bundle, held, event),
  delete: (trustDomain, events) => rows.delete(trustDomain, events),
  all: async () => {
    const relationships = await comparedRows(objects, 'federation', () => rows.relationships());
    const bundles = await comparedRows(objects, 'foreign-bundle', () => rows.bundles());
    return relationships.map((relationship) => ({
      relationship,
      bundle: bundles.find(
        ({ trustDomain, relationshipId }) =>
          trustDomain === relationship.trustDomain && relationshipId === relationship.id,
      ),
    }));
  },
  newest: () => Math.max(objects.newest('federation'), objects.newest('foreign-bundle')),
});
