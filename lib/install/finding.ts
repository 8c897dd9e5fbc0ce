/** The result of one check of `bg doctor`. */
import { programCommand } from "../process/self.ts";

/** A failed check has a command that fixes it. */
export type Finding = { says: string; fix?: string };

/** A fix that is a verb of this program. */
export const formatFix = (verb: string) => `${programCommand()} ${verb}`;
