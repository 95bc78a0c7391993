import { DerError, tag, type DerReader } from './der-reader.ts';

const year2050 = Date.UTC(2050, 0, 1) / 1000;
const year1950 = Date.UTC(1950, 0, 1) / 1000;
const year10000 = Date.UTC(10000, 0, 1) / 1000;

/**
 * UTCTime through 2049, GeneralizedTime from 2050 on, both to the second and in Z (RFC 5280 section
 * 4.1.2.5). Throws RangeError outside 1950 to 9999.
 */
export function encodeTime(seconds: number): Buffer {
  if (!Number.isInteger(seconds) || seconds < year1950 || seconds >= year10000)
    throw new RangeError(`${seconds} is not an instant that a certificate can state`);
  return timeElement(seconds, seconds < year2050);
}

/**
 * GeneralizedTime for every year, as OCSP writes its times (RFC 6960 section 4.2.2.1). Throws
 * RangeError outside 1950 to 9999.
 */
export function encodeGeneralizedTime(seconds: number): Buffer {
  if (!Number.isInteger(seconds) || seconds < year1950 || seconds >= year10000)
    throw new RangeError(`${seconds} is not an instant that an OCSP answer can state`);
  return timeElement(seconds, false);
}

/** `short`: as UTCTime. */
function timeElement(seconds: number, short: boolean): Buffer {
  const date = new Date(seconds * 1000);
  const year = date.getUTCFullYear();
  const out = Buffer.allocUnsafe(short ? 15 : 17);
  out[0] = short ? tag.utcTime : tag.generalizedTime;
  out[1] = short ? 13 : 15;
  let at = 2;
  const two = (value: number): void => {
    out[at] = 0x30 + Math.floor(value / 10);
    out[at + 1] = 0x30 + (value % 10);
    at += 2;
  };
  if (!short) two(Math.floor(year / 100));
  two(year % 100);
  two(date.getUTCMonth() + 1);
  two(date.getUTCDate());
  two(date.getUTCHours());
  two(date.getUTCMinutes());
  two(date.getUTCSeconds());
  out[at] = 0x5a;
  return out;
}

/**
 * Reads a Time; Unix seconds. A GeneralizedTime before 2050 is read too: foreign authorities write
 * it.
 */
export function readTime(reader: DerReader, what: string): number {
  return readElement(reader, what, reader.peek() === tag.utcTime);
}

/** Reads a Time that has the form which RFC 5280 requires for its year; Unix seconds. */
export function readRequiredTime(reader: DerReader, what: string): number {
  const short = reader.peek() === tag.utcTime;
  const seconds = readElement(reader, what, short);
  if (!short && seconds < year2050)
    throw new DerError(`${what} is a GeneralizedTime before the year 2050`);
  return seconds;
}

/** Reads a GeneralizedTime of any year, to the second and in Z; Unix seconds. */
export function readGeneralizedTime(reader: DerReader, what: string): number {
  return readElement(reader, what, false);
}

function readElement(reader: DerReader, what: string, short: boolean): number {
  const text = reader.content(short ? tag.utcTime : tag.generalizedTime, what);
  const bad = (): DerError => new DerError(`${what} is not a time in the form of RFC 5280`);
  if (text.length !== (short ? 13 : 15) || text[text.length - 1] !== 0x5a) throw bad();
  const two = (at: number): number => {
    const tens = (text[at] as number) - 0x30;
    const ones = (text[at + 1] as number) - 0x30;
    if (tens < 0 || tens > 9 || ones < 0 || ones > 9) throw bad();
    return tens * 10 + ones;
  };
  const start = short ? 0 : 2;
  const shortYear = two(start);
  const year = short ? (shortYear < 50 ? 2000 : 1900) + shortYear : two(0) * 100 + shortYear;
  const month = two(start + 2);
  const day = two(start + 4);
  const hour = two(start + 6);
  const minute = two(start + 8);
  const second = two(start + 10);
  if (
    month < 1 ||
    month > 12 ||
    day < 1 ||
    day > daysIn(year, month) ||
    hour > 23 ||
    minute > 59 ||
    second > 59
  )
    throw bad();
  // Date.UTC takes years below 100 for 19xx
  if (year < 1000) throw bad();
  return Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
}

const monthDays = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const;
const daysIn = (year: number, month: number): number =>
  month === 2 && ((year % 4 === 0 && year % 100 !== 0) || year % 400 === 0)
    ? 29
    : (monthDays[month - 1] as number);
