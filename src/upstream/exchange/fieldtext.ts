/**
 * A header field's text, read from left to right by sticky patterns: what the parsers of list-valued fields share.
 *
 * Several fields of one name are one list (RFC 9110 §5.3). Its length is bounded, and so is the work on it.
 */

const MAX_INPUT = 8 * 1024;

export class FieldText {
  readonly text: string;
  /** Where the next pattern is tried. */
  at = 0;

  constructor(header: string | readonly string[]) {
    this.text = (typeof header === "string" ? header : header.join(", ")).slice(0, MAX_INPUT);
  }

  get ended(): boolean {
    return this.at >= this.text.length;
  }

  /** Matches a sticky pattern right here and steps over it; where it does not match, nothing moves. */
  take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.at;
    const match = pattern.exec(this.text);
    if (match === null) return undefined;
    this.at = pattern.lastIndex;
    return match;
  }
}
