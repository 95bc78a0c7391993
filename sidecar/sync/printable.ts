import { oneLine } from '../../src/common/runtime/index.ts';

const maximumTextLength = 400;

/**
 * Makes a text of others printable by the rule of the server, which would refuse the whole report for
 * one that is not, and with it every identity of this node.
 */
export const printable = (text: string): string =>
  oneLine(text, ' ').slice(0, maximumTextLength).toWellFormed();
