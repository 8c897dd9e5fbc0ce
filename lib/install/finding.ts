/** The result of one check of `bg doctor`. */
import { programCommand } from "../process/self.ts";

/** A failed check has a command that fixes it. */
export type Finding =
	| { ok: true; says: string }
	| { ok: false; says: string; fix: string };

/** A passed check. */
export const passed = (says: string): Finding => ({ ok: true, says });

/** A failed check. */
export const failed = (says: string, fix: string): Finding => ({
	ok: false,
	says,
	fix,
});

/** A fix that is a verb of this program. */
export const formatFix = (verb: string) => `${programCommand()} ${verb}`;
