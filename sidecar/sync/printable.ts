const maximumTextLength = 400;

/**
 * Makes a consumer's reason printable, since the server would refuse the whole report for one that
 * is not.
 */
export const printable = (text: string): string =>
  text.replace(controlCharacters, ' ').slice(0, maximumTextLength);
// oxlint-disable-next-line no-control-regex -- control characters are what is replaced
const controlCharacters = /[\u0000-\u001f\u007f-\u009f]/g;
