/**
 * Who waits for a question to an upstream.
 *
 * - `miss`: somebody waits, and there is nothing else to give them.
 * - `refresh`: what is stored can be served instead; it yields where anything is short.
 */
export type Urgency = "miss" | "refresh";
