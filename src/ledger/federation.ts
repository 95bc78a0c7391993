import {
  rootSha256,
  type AcceptedBundle,
  type FederationRelationship,
  type ForeignBundle,
  type Proven,
} from '../domain/index.ts';
import type { FederationStore } from '../store/ports/index.ts';
import { comparedRows } from './compared-rows.ts';
import type { Objects } from './objects.ts';

/** A relationship, and the bundle that was accepted for it. */
export interface ProvenFederation {
  readonly relationship: Proven<FederationRelationship>;
  readonly bundle: Proven<ForeignBundle> | undefined;
  /** What the log states of it, also where its row was altered or is gone. */
  readonly accepted: AcceptedBundle | undefined;
  /** The row of the bundle differs from the log, so that the next bundle is stored in any case. */
  readonly altered: boolean;
  /** DER as base64. Those whose digests are on record, also of an altered row: they verify an endpoint. */
  readonly roots: readonly string[];
}

export interface LedgerFederation extends Pick<FederationStore, 'create' | 'accept' | 'delete'> {
  /**
   * Every relationship that the log vouches for, with its bundle where the log vouches for that too.
   * A row that was altered, added or taken away past the log is announced, and counts for nothing.
   */
  all(): Promise<readonly ProvenFederation[]>;
  /** Whether the log still vouches for a bundle that was proven before. */
  vouches(bundle: Proven<ForeignBundle>): boolean;
  /** Grows with each record of a relationship or a foreign bundle. */
  newest(): number;
}

export const ledgerFederation = (
  rows: FederationStore,
  objects: Pick<Objects, 'prove' | 'newest' | 'announceMissing' | 'accepted' | 'expects'>,
): LedgerFederation => ({
  create: (relationship, bundle, options) => rows.create(relationship, bundle, options),
  accept: (bundle, held, event) => rows.accept(bundle, held, event),
  delete: (trustDomain, events) => rows.delete(trustDomain, events),
  all: async () => {
    const relationships = await comparedRows(objects, 'federation', () => rows.relationships());
    let read: readonly ForeignBundle[] = [];
    const bundles = await comparedRows(objects, 'foreign-bundle', async () => {
      read = await rows.bundles();
      return read;
    });
    return relationships.map((relationship) => {
      const { trustDomain, id } = relationship;
      const bundle = bundles.find(
        (each) => each.trustDomain === trustDomain && each.relationshipId === id,
      );
      const stated = objects.accepted.get(trustDomain);
      const accepted = stated?.relationshipId === id ? stated : undefined;
      const row = read.find((each) => each.trustDomain === trustDomain);
      return {
        relationship,
        bundle,
        accepted,
        altered: bundle === undefined && objects.expects('foreign-bundle', trustDomain),
        roots: bundle?.roots ?? vouchedRoots(row, accepted),
      };
    });
  },
  vouches: (bundle) => objects.prove('foreign-bundle', bundle) !== undefined,
  newest: () => Math.max(objects.newest('federation'), objects.newest('foreign-bundle')),
});

/** Those of an unproven row whose digests are on record. */
const vouchedRoots = (
  row: ForeignBundle | undefined,
  accepted: AcceptedBundle | undefined,
): readonly string[] =>
  (row?.roots ?? []).filter((root) => accepted?.roots.includes(rootSha256(root)) === true);
