/**
 * A terminal, as far as progress displays need one: text that wraps and scrolls, cursor up, carriage return, erase below.
 */

/** What may stand in a row, and whether it goes on in the next: what a terminal reflows when its width changes. */
interface Row {
  text: string;
  wraps: boolean;
}

export class Screen {
  readonly isTTY = true;
  columns: number;
  readonly rows: number;
  #rows: Row[] = [{ text: "", wraps: false }];
  /** Row of the cursor. */
  #at = 0;
  /** Rows that have left at the top. */
  readonly history: string[] = [];

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.rows = rows;
  }

  write(text: string): void {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what terminals are told by.
    for (const [part = ""] of text.matchAll(/\u001b\[\d*[A-Z]|\r|\n|[^\u001b\r\n]+/g)) this.#take(part);
  }

  /** What is to be seen, those of rows that wrapped as several; without what is empty at the end. */
  get lines(): string[] {
    const lines = this.#rows.map(({ text }) => text);
    while (lines.at(-1) === "") lines.pop();
    return lines;
  }

  /** Rows that wrapped are joined, and wrapped anew, as terminals do. */
  resize(columns: number): void {
    const before = this.#rows.slice(0, this.#at);
    const texts: string[] = [];
    let open = false;
    for (const { text, wraps } of before) {
      if (open) texts.push(`${texts.pop() ?? ""}${text}`);
      else texts.push(text);
      open = wraps;
    }
    this.columns = columns;
    this.#rows = texts.flatMap((text) => this.#wrapped(text));
    this.#at = this.#rows.length;
    this.#rows.push({ text: "", wraps: false });
    this.#scroll();
  }

  #take(part: string): void {
    if (part === "\n") {
      this.#at += 1;
      if (this.#at === this.#rows.length) this.#rows.push({ text: "", wraps: false });
      this.#scroll();
      return;
    }
    // All displays here write whole lines: the cursor is at a line's beginning.
    if (part === "\r") return;
    if (!part.startsWith("\u001b")) this.#put(part);
    else if (part.endsWith("A")) this.#at = Math.max(0, this.#at - Number(part.slice(2, -1)));
    else if (part.endsWith("[J")) this.#rows.splice(this.#at, this.#rows.length, { text: "", wraps: false });
    else throw new Error(`unknown control sequence: ${JSON.stringify(part)}`);
  }

  #put(text: string): void {
    const rows = this.#wrapped(text);
    this.#rows.splice(this.#at, 1, ...rows);
    this.#at += rows.length - 1;
    this.#scroll();
  }

  #wrapped(text: string): Row[] {
    const rows: Row[] = [];
    for (let at = 0; at === 0 || at < text.length; at += this.columns) {
      rows.push({ text: text.slice(at, at + this.columns), wraps: at + this.columns < text.length });
    }
    return rows;
  }

  #scroll(): void {
    const over = Math.max(0, this.#rows.length - this.rows);
    this.history.push(...this.#rows.splice(0, over).map(({ text }) => text));
    this.#at -= over;
  }
}
