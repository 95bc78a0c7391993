import { isOneLine } from '../runtime/one-line.ts';
import { fail, ok, type Result } from '../errors/index.ts';

/**
 * A fact about a process or node, written `type:value`, for example `unix:uid:1000`: type `unix`,
 * value `uid:1000`.
 */
export interface Selector {
  readonly type: string;
  readonly value: string;
}

export function parseSelector(text: string): Result<Selector> {
  const colon = text.indexOf(':');
  const type = text.slice(0, colon);
  const value = text.slice(colon + 1);
  if (colon < 1 || value === '')
    return fail(
      'SELECTOR_INVALID',
      `selector ${JSON.stringify(text)} is not of the form type:value`,
    );
  if (!/^[a-z][a-z0-9_]*$/.test(type))
    return fail(
      'SELECTOR_INVALID',
      `selector type ${JSON.stringify(type)} has a character outside [a-z0-9_]`,
    );
  if (text.length > 1024)
    return fail('SELECTOR_INVALID', 'the selector has more than 1024 characters');
  if (!isOneLine(value))
    return fail('SELECTOR_INVALID', `selector ${JSON.stringify(text)} has a control character`);
  return ok({ type, value });
}

/** Those of the texts that are selectors, in their order. The others are left out, never changed. */
export const validSelectors = (texts: readonly string[]): readonly Selector[] =>
  texts.flatMap((text) => {
    const selector = parseSelector(text);
    return selector.ok ? [selector.value] : [];
  });

export const selectorText = (selector: Selector): string => `${selector.type}:${selector.value}`;
