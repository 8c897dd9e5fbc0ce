/** The environment variables that mark the processes of a task and its supervisor. */

/** Set in every process of a task, which is found by it wherever it moved in the process tree. */
export const taskVariable = "BG_TASK_ID";

/** The attempt that started a process: an earlier attempt may have left processes behind. */
export const attemptVariable = "BG_ATTEMPT";

/** Set in every process of a job, to the job: `<engine>:<cluster>:<number>`, with `:<run>` if it was started again. */
export const jobVariable = "BG_JOB";

/** Set in a supervisor, to the claim name of its launcher. A supervisor is never part of a task's tree. */
export const supervisorVariable = "BG_SUPERVISOR";
