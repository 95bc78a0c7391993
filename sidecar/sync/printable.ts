const maximumTextLength = 400;

/**
 * Reasons come from consumers: one that the server can not print must not cost the whole report.
 */
export const printable = (text: string): string =>
  text.replace(controlCharacters, ' ').slice(0, maximumTextLength);
// oxlint-disable-next-line no-control-regex -- control characters are what is replaced
const controlCharacters = /[\u0000-\u001f\u007f-\u009f]/g;
