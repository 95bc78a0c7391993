import type { Page, PageRequest } from '../../src/store/ports/index.ts';

/** One page of these items, as a store gives it. */
export function listed<T>(items: readonly T[], { size, after }: PageRequest): Page<T> {
  const from = Number(after ?? 0);
  const end = from + size;
  return { items: items.slice(from, end), next: end < items.length ? String(end) : undefined };
}
