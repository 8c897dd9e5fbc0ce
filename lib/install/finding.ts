/** The result of one check of `bg doctor`. */
import { programCommand } from "../process/self.ts";

/** What was found: in order, or with what mends it. */
export type Finding =
	| { ok: true; says: string }
	| { ok: false; says: string; fix: string };

export const passed = (says: string): Finding => ({ ok: true, says });
export const failed = (says: string, fix: string): Finding => ({
	ok: false,
	says,
	fix,
});

export const formatFix = (verb: string) => `${programCommand()} ${verb}`;
