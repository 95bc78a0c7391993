/** One reason why this process should get no traffic, or undefined. */
export type ReadinessCheck = () => string | undefined;

/**
 * Ready means: could serve a request now. Owner of nothing; each check asks the owner of its state.
 */
export class Readiness {
  readonly #checks: ReadinessCheck[] = [];

  add(check: ReadinessCheck): void {
    this.#checks.push(check);
  }

  reasons(): readonly string[] {
    return this.#checks.map((check) => check()).filter((reason) => reason !== undefined);
  }

  get ready(): boolean {
    return this.reasons().length === 0;
  }
}
