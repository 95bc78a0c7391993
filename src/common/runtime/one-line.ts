// eslint-disable-next-line no-control-regex -- control characters are exactly what is looked for
const unprintable = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;
const each = new RegExp(unprintable.source, 'g');

/**
 * Whether a text fits into one line of a table or log: no control characters (C0, DEL, C1), no line
 * separators, and no marks that reverse the direction of text and so display another text (Unicode
 * TR 36).
 */
export const isOneLine = (text: string): boolean => !unprintable.test(text);

/** Replaces each such character, to display text from outside. */
export const oneLine = (text: string, instead = '\ufffd'): string => text.replace(each, instead);
