import { loggedAccepted, type AcceptedBundle, type LoggedObject } from '../domain/index.ts';

/**
 * What the records state of the foreign bundles that were accepted last. So a row that was altered
 * lowers no sequence. Owner of that memory.
 */
export class AcceptedBundles {
  readonly #bundles = new Map<string, AcceptedBundle>();

  /** Records of other kinds are ignored. Called in the order of the records of each object. */
  apply(object: LoggedObject): void {
    if (object.kind !== 'foreign-bundle') return;
    const accepted =
      object.sha256 === '' ? undefined : loggedAccepted(object, this.#bundles.get(object.id));
    if (accepted === undefined) this.#bundles.delete(object.id);
    else this.#bundles.set(object.id, accepted);
  }

  get(trustDomain: string): AcceptedBundle | undefined {
    return this.#bundles.get(trustDomain);
  }

  /** In an order that depends on the content only. */
  copy(): readonly AcceptedBundle[] {
    return [...this.#bundles.values()].sort((one, other) =>
      one.trustDomain < other.trustDomain ? -1 : 1,
    );
  }

  restore(bundles: readonly AcceptedBundle[]): void {
    for (const bundle of bundles) this.#bundles.set(bundle.trustDomain, bundle);
  }
}
