import { nearest } from '../common/runtime/nearest.ts';

/**
 * The selectors that the agent of this release produces for a process, and for a file target of its
 * configuration (docs/entries.md). A test compares them with the agent.
 */
export const knownSelectors = [
  'unix:uid',
  'unix:user',
  'unix:gid',
  'unix:group',
  'unix:supplementary_gid',
  'unix:supplementary_group',
  'unix:path',
  'unix:foreign_path',
  'unix:sha256',
  'unix:cgroup',
  'systemd:id',
  'peer:pinned',
  'target:name',
] as const;

/**
 * A note on a selector that the agent of this release never produces, with the nearest one that it
 * produces. Undefined for other selectors.
 */
export function oddSelector(selector: string): readonly string[] {
  const [type, key, ...rest] = selector.split(':');
  // this is no selector: the server refuses it
  if (!type || key === undefined) return [];
  const known = knownSelectors as readonly string[];
  if (known.includes(`${type}:${key}`) && (rest.length > 0 || selector === 'peer:pinned'))
    return [];
  const near = known.includes(`${type}:${key}`)
    ? `${type}:${key}:VALUE`
    : nearest(`${type}:${key}`, known);
  return [
    `no agent of this release produces the selector ${selector}, so that nothing matches ` +
      `it${near === undefined ? '; docs/entries.md lists the selectors' : `; did you mean ${near}?`}`,
  ];
}
