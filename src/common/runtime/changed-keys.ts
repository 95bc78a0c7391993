/**
 * The dotted paths of the keys in which two configurations differ, without `except`. Lists are
 * compared as a whole.
 */
export function changedKeys(
  before: object,
  after: object,
  except: readonly string[] = [],
): readonly string[] {
  const [was, is] = [leavesOf(before), leavesOf(after)];
  return [...new Set([...was.keys(), ...is.keys()])]
    .filter((path) => was.get(path) !== is.get(path) && !except.includes(path))
    .sort();
}

function leavesOf(tree: object, path: readonly string[] = []): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(tree).flatMap(([key, value]: [string, unknown]) => {
      if (value === undefined) return [];
      const at = [...path, key];
      return typeof value === 'object' && value !== null && !Array.isArray(value)
        ? [...leavesOf(value, at)]
        : [[at.join('.'), JSON.stringify(value)] as const];
    }),
  );
}
