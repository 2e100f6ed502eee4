#include "data/status.h"
typedef int placeholder;
