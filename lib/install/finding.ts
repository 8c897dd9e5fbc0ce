/** The result of one check of `bg doctor`. */
import { programCommand } from "../process/self.ts";

/** A kind of fault in a log: its last text and time (ISO 8601), and how often it was logged. */
export type FaultCount = {
	times: number;
	last: string;
	log: string;
	fault: string;
};

/** A failed check has a command that fixes it. */
export type Finding = { says: string; fix?: string; faults?: FaultCount[] };

/** A fix that is a verb of this program. */
export const formatFix = (verb: string) => `${programCommand()} ${verb}`;
