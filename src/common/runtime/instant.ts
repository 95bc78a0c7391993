const form = /^(\d{4}-\d{2}-\d{2})(T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2}))?$/;

/**
 * Unix seconds of an ISO 8601 date (its beginning in UTC) or instant with its zone. Undefined for
 * other text, and for days that do not exist, which Date.parse would move to the next month.
 */
export function parseInstant(text: string): number | undefined {
  const date = form.exec(text)?.[1];
  if (date === undefined) return undefined;
  const day = new Date(`${date}T00:00:00Z`);
  if (Number.isNaN(day.getTime()) || day.toISOString().slice(0, 10) !== date) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
}
