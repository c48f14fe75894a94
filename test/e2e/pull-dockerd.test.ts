import { dockerd } from "./daemons.ts";
import { testPulls } from "./pulls.ts";

testPulls(dockerd);
