/** What all parts of the screen draw with. Pure. */

/** `now`: ms since 1970. Without `colour` there is no control sequence in a line. */
export type DrawOptions = { now: number; colour: boolean };

export const invert = (text: string, { colour }: DrawOptions): string =>
	colour ? `\u001b[7m${text}\u001b[27m` : text;

export const bold = (text: string, { colour }: DrawOptions): string =>
	colour ? `\u001b[1m${text}\u001b[22m` : text;
