/** A test by its file below `test/` and its name as the file has it. */
export type TestName = readonly [file: string, name: string];

/** What happened when somebody did what the advice says. */
export type Followed =
  | {
      readonly does: string;
      readonly result: string;
      /** The test that follows the advice, where it is another than the one that provokes. */
      readonly by?: TestName;
    }
  /** No test can follow the advice, and why. */
  | { readonly cannot: string };

/** One code: how a test provokes it, and what came of its advice. */
export interface AdviceRow {
  readonly provoked: string;
  readonly by: TestName;
  readonly followed: Followed;
}

export const row = (provoked: string, by: TestName, followed: Followed): AdviceRow => ({
  provoked,
  by,
  followed,
});
export const done = (does: string, result: string, by?: TestName): Followed => ({
  does,
  result,
  ...(by && { by }),
});
export const cannot = (reason: string): Followed => ({ cannot: reason });
