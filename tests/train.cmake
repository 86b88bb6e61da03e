# Training: adapter files, the plan, the trainer and its loop.
add_library(train_fixture STATIC support/train_fixture.c)
target_link_libraries(train_fixture PUBLIC shoal_train tiny_model)
shoal_test(test_trainer unit/test_trainer.c LIBS train_fixture)
