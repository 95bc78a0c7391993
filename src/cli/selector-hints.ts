import { nearest } from '../common/runtime/nearest.ts';

/**
 * The selectors that the agent of this release makes of a process (docs/entries.md). A test compares
 * them with the agent.
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
] as const;

/**
 * A sentence on a selector that this release of the agent never makes, with the nearest that it
 * makes; none for others.
 */
export function oddSelector(selector: string): readonly string[] {
  const [type, key, ...rest] = selector.split(':');
  // not a selector: the server refuses it
  if (!type || key === undefined) return [];
  const known = knownSelectors as readonly string[];
  if (known.includes(`${type}:${key}`) && (rest.length > 0 || selector === 'peer:pinned'))
    return [];
  const near = known.includes(`${type}:${key}`)
    ? `${type}:${key}:VALUE`
    : nearest(`${type}:${key}`, known);
  return [
    `no agent of this release makes the selector ${selector}, so that nothing matches it${near === undefined ? '; docs/entries.md lists those that there are' : `; did you mean ${near}?`}`,
  ];
}
